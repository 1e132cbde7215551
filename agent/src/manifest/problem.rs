//! What is wrong with a manifest, all of it: collected, then drawn for people or written as JSON.

use std::fmt;

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::access::Obstacle;
use super::location::Location;
use super::source::Source;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The manifest is not applied.
    Error,
    /// The manifest is applied, and probably not what was meant.
    Warning,
}

/// Something that a later reading can only say because a file could be read to its end: what is absent may stand in the
/// lines that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// TOML itself could not be read here.
    Syntax,
    /// What stands here is wrong by itself.
    Present,
    /// Something that is needed is nowhere.
    Absent,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(crate) level: Level,
    pub(crate) evidence: Evidence,
    pub(crate) location: Location,
    pub(crate) title: String,
    pub(crate) label: String,
    pub(crate) also: Vec<(Location, String)>,
    pub(crate) help: Vec<String>,
}

impl Problem {
    /// The few words that stand under the text.
    pub(crate) fn label(&mut self, text: impl Into<String>) -> &mut Self {
        self.label = text.into();
        self
    }

    /// A second location that has to do with it.
    pub(crate) fn also(&mut self, location: &Location, text: impl Into<String>) -> &mut Self {
        self.also.push((location.clone(), text.into()));
        self
    }

    /// What to write instead.
    pub(crate) fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help.push(text.into());
        self
    }
}

/// Everything that is wrong with a manifest, in the order of the files and lines.
///
/// `Display` (and [`Problems::render`]) draws it for people; `Serialize` is a list of objects with `level`, `file`,
/// `line`, `column` (both from 1, in characters), `key`, `text` (what stands there), `message`, `label`, `also` and `help`.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    pub(crate) sources: Vec<Source>,
    pub(crate) list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(sources: &[Source]) -> Self {
        Self { sources: sources.to_vec(), list: Vec::new() }
    }

    pub(crate) fn error(&mut self, location: &Location, title: impl Into<String>) -> &mut Problem {
        self.push(Level::Error, Evidence::Present, location, title.into())
    }

    pub(crate) fn absent(&mut self, location: &Location, title: impl Into<String>) -> &mut Problem {
        self.push(Level::Error, Evidence::Absent, location, title.into())
    }

    pub(crate) fn syntax(&mut self, location: &Location, title: impl Into<String>) -> &mut Problem {
        self.push(Level::Error, Evidence::Syntax, location, title.into())
    }

    pub(crate) fn warning(&mut self, location: &Location, title: impl Into<String>) -> &mut Problem {
        self.push(Level::Warning, Evidence::Present, location, title.into())
    }

    /// A warning of something that is nowhere.
    pub(crate) fn absent_warning(&mut self, location: &Location, title: impl Into<String>) -> &mut Problem {
        self.push(Level::Warning, Evidence::Absent, location, title.into())
    }

    fn push(&mut self, level: Level, evidence: Evidence, location: &Location, title: String) -> &mut Problem {
        let problem = Problem {
            level,
            evidence,
            location: location.clone(),
            title,
            label: String::new(),
            also: Vec::new(),
            help: Vec::new(),
        };
        let at = self.list.len();
        self.list.push(problem);
        &mut self.list[at]
    }

    /// Takes back what was said to be absent of a key: it stands elsewhere.
    pub(crate) fn not_absent(&mut self, location: &Location) {
        self.list.retain(|p| p.evidence != Evidence::Absent || p.location != *location);
    }

    /// Whether something is wrong with that key already, or with a key below it: what else would be said follows from it.
    pub(crate) fn within(&self, file: usize, key: &str) -> bool {
        let below =
            |found: &str| found.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.list.iter().any(|p| p.level == Level::Error && p.location.file == file && below(&p.location.key))
    }

    /// Sorts by location, and leaves out what only follows from a line that TOML could not read.
    pub(crate) fn prune(&mut self) {
        let line = |location: &Location| (location.file, position(&self.sources, location).0);
        let unread: Vec<_> =
            self.list.iter().filter(|p| p.evidence == Evidence::Syntax).map(|p| line(&p.location)).collect();
        let implied: Vec<bool> = self
            .list
            .iter()
            .map(|p| match p.evidence {
                Evidence::Syntax => false,
                Evidence::Present => unread.contains(&line(&p.location)),
                Evidence::Absent => !unread.is_empty(),
            })
            .collect();
        let mut implied = implied.into_iter();
        self.list.retain(|_| !implied.next().unwrap_or(false));
        self.list.sort_by_key(|p| (p.location.file, p.location.span.start));
    }

    /// Warns of what keeps the daemon's user from files that this process could read.
    pub fn closed_to_the_daemon(&mut self, obstacles: Vec<Obstacle>) {
        for obstacle in obstacles {
            let file = self.sources.iter().position(|source| source.path.starts_with(obstacle.path())).unwrap_or(0);
            let location = Location { file, span: 0..0, key: String::new() };
            self.warning(&location, format!("the daemon cannot read the manifest: {obstacle}"));
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a file is not even TOML.
    #[must_use]
    pub fn has_syntax_errors(&self) -> bool {
        self.list.iter().any(|p| p.evidence == Evidence::Syntax)
    }

    /// How many problems of this level there are.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.list.iter().filter(|p| p.level == level).count()
    }

    /// Draws every problem with its line, for a terminal (`color`) or for a log.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        super::render::render(&self.sources, &self.list, color)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// Line and column of a location, both from 1, in characters.
pub(crate) fn position(sources: &[Source], location: &Location) -> (usize, usize) {
    let before = sources.get(location.file).and_then(|s| s.text.get(..location.span.start)).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[derive(serde::Serialize)]
struct Spot<'a> {
    file: String,
    line: usize,
    column: usize,
    key: &'a str,
    text: &'a str,
    label: &'a str,
}

#[derive(serde::Serialize)]
struct Entry<'a> {
    level: Level,
    message: &'a str,
    #[serde(flatten)]
    spot: Spot<'a>,
    also: Vec<Spot<'a>>,
    help: &'a [String],
}

impl Problems {
    fn spot<'a>(&'a self, location: &'a Location, label: &'a str) -> Spot<'a> {
        let (line, column) = position(&self.sources, location);
        let source = self.sources.get(location.file);
        Spot {
            file: source.map(|s| s.path.display().to_string()).unwrap_or_default(),
            line,
            column,
            key: &location.key,
            text: source.and_then(|s| s.text.get(location.span.clone())).unwrap_or_default(),
            label,
        }
    }
}

impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.list.len()))?;
        for problem in &self.list {
            list.serialize_element(&Entry {
                level: problem.level,
                message: &problem.title,
                spot: self.spot(&problem.location, &problem.label),
                also: problem.also.iter().map(|(location, label)| self.spot(location, label)).collect(),
                help: &problem.help,
            })?;
        }
        list.end()
    }
}
