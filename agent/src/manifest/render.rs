//! Problems drawn as a compiler draws them.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level as Title, Renderer, Snippet};

use super::location::Location;
use super::problem::{Level, Problem};
use super::source::Source;

/// Wide enough that no line of a reasonable manifest is cut; logs have no width at all.
const WIDTH: usize = 160;

pub(super) fn render(sources: &[Source], problems: &[Problem], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let mut text = String::new();
    for problem in problems {
        text.push_str(&renderer.render(&[group(sources, problem)]));
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(sources: &'a [Source], problem: &'a Problem) -> Group<'a> {
    let title = match problem.level {
        Level::Error => Title::ERROR,
        Level::Warning => Title::WARNING,
    };
    let mut group = Group::with_title(title.primary_title(problem.title.as_str()));
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        problem.also.iter().partition(|(location, _)| location.file == problem.location.file);
    if let Some(source) = sources.get(problem.location.file) {
        let primary = annotation(source, AnnotationKind::Primary, &problem.location, &problem.label);
        let more = here.iter().map(|(location, text)| annotation(source, AnnotationKind::Context, location, text));
        group = group.element(snippet(source).annotation(primary).annotations(more));
    }
    for (location, text) in elsewhere {
        if let Some(source) = sources.get(location.file) {
            group =
                group.element(snippet(source).annotation(annotation(source, AnnotationKind::Context, location, text)));
        }
    }
    problem.help.iter().fold(group, |group, help| group.element(Title::HELP.message(help.as_str())))
}

fn snippet<'a>(source: &'a Source) -> Snippet<'a, Annotation<'a>> {
    Snippet::source(source.text.as_str()).line_start(1).path(source.path.display().to_string())
}

fn annotation<'a>(source: &Source, kind: AnnotationKind, location: &Location, label: &'a str) -> Annotation<'a> {
    kind.span(within(&source.text, &location.span)).label((!label.is_empty()).then_some(label))
}

/// The span, moved to the nearest characters of the text: what draws it takes no other.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |offset: usize| (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = floor(span.start);
    start..floor(span.end).max(start)
}
