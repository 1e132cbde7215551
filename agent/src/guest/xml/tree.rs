//! XML as a tree that gives back what it read, byte for byte, wherever nobody changed it.
//!
//! A definition is somebody's text: its comments, the order of its elements and attributes, elements of other namespaces and
//! even its blanks come back as they came. Only the start tag of an element whose attribute changes is written anew.

use std::borrow::Cow;

use quick_xml::escape::{escape, unescape};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Why a text is not one XML element.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// The text breaks XML's own rules.
    #[error("is not well-formed XML")]
    Syntax(#[from] quick_xml::Error),
    /// The text ends inside an element, or holds none.
    #[error("holds no complete XML element")]
    Incomplete,
    /// Something follows the element.
    #[error("holds more than one XML element")]
    More,
    /// Elements within elements, more than libvirt's own parser takes.
    #[error("has more than {DEPTH} elements within each other")]
    Deep,
    /// It is another kind of document.
    #[error("is a <{found}>, not a <{wanted}>")]
    Other {
        /// Its outermost element.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// The depth at which libxml2, and so libvirt, refuses a document (`xmlParserMaxDepth`).
const DEPTH: usize = 256;

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    key: String,
    value: String,
    /// The value as it stands between its quotes.
    raw: String,
}

/// What an element holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// An element.
    Element(Element),
    /// Text, a CDATA section or a reference: its meaning, and how it is written.
    Text(String, String),
    /// A comment or a processing instruction as it is written.
    Aside(String),
}

/// An element: its name with any prefix, its attributes in their order, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    attributes: Vec<Attribute>,
    pub(crate) nodes: Vec<Node>,
    /// The start tag as it was read; `None` for a new element and for one whose tag has changed.
    start: Option<String>,
    /// The end tag as it was read; empty for a new element and for one that was closed by `/>`.
    end: String,
}

/// An element, and what stood before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    before: String,
    pub(crate) root: Element,
    after: String,
}

impl Element {
    /// An empty element.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// An element that holds only text.
    pub(crate) fn text(name: &str, text: impl Into<String>) -> Self {
        let mut element = Self::new(name);
        element.set_text(&text.into());
        element
    }

    /// The same with one more attribute.
    pub(crate) fn attr(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// The same with more children.
    pub(crate) fn with(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    /// The child elements, in their order.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(Node::element)
    }

    /// The child elements, to be changed.
    pub(crate) fn children_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.nodes.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(..) | Node::Aside(_) => None,
        })
    }

    /// The value of an attribute.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.as_str())
    }

    /// The first descendant along a path of element names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.children().find(|child| child.name == *name))
    }

    /// The text of the first descendant along a path, without blanks around it.
    pub(crate) fn text_at(&self, path: &[&str]) -> Option<String> {
        self.at(path).map(|element| element.content().trim().to_owned())
    }

    /// The text of the element itself.
    pub(crate) fn content(&self) -> String {
        let text = |node: &Node| match node {
            Node::Text(text, _) => Some(text.clone()),
            Node::Element(_) | Node::Aside(_) => None,
        };
        self.nodes.iter().filter_map(text).collect()
    }

    /// Sets an attribute, at its place or as the last one. One that has the value already stays as it is written.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let raw = escape(value).into_owned();
        let new = Attribute { key: key.to_owned(), value: value.to_owned(), raw };
        match self.attributes.iter_mut().find(|attribute| attribute.key == key) {
            Some(attribute) if attribute.value == value => return,
            Some(attribute) => *attribute = new,
            None => self.attributes.push(new),
        }
        self.start = None;
    }

    /// Takes away every attribute but one.
    pub(crate) fn unset_all_but(&mut self, key: &str) {
        if self.attributes.iter().any(|attribute| attribute.key != key) {
            self.attributes.retain(|attribute| attribute.key == key);
            self.start = None;
        }
    }

    /// Sets the text of an element; comments in it stay. A text that says so already, but for blanks around it, stays.
    pub(crate) fn set_text(&mut self, text: &str) {
        if self.content().trim() == text {
            return;
        }
        self.nodes.retain(|node| !matches!(node, Node::Text(..)));
        self.add(self.nodes.len(), [Node::Text(text.to_owned(), escape(text).into_owned())]);
    }

    /// Changes the first child of that name; a new one stands behind the last of those named, else behind all children.
    pub(crate) fn change(&mut self, name: &str, behind: &[&str], change: impl FnOnce(&mut Element)) {
        if let Some(child) = self.children_mut().find(|child| child.name == name) {
            return change(child);
        }
        let mut child = Element::new(name);
        change(&mut child);
        self.insert(child, behind);
    }

    /// Adds a child behind the last one that has one of the names, else behind all children, with the blanks that its
    /// neighbours have before them.
    pub(crate) fn insert(&mut self, child: Element, behind: &[&str]) {
        let named = |node: &Node| node.element().is_some_and(|e| behind.contains(&e.name.as_str()));
        let last = self.nodes.iter().rposition(named);
        let last = last.or_else(|| self.nodes.iter().rposition(|node| node.element().is_some()));
        let at = last.map_or(self.nodes.len(), |last| last + 1);
        let first = self.nodes.iter().position(|node| node.element().is_some());
        let blanks = first.and_then(|first| first.checked_sub(1)).map(|before| self.nodes[before].clone());
        let blanks = blanks.filter(Node::is_blank);
        self.add(at, blanks.into_iter().chain([Node::Element(child)]));
    }

    /// Takes away the children that do not pass, with the blanks before them.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Element) -> bool) {
        let mut kept: Vec<Node> = Vec::new();
        for node in std::mem::take(&mut self.nodes) {
            if node.element().is_none_or(&mut keep) {
                kept.push(node);
            } else if kept.last().is_some_and(Node::is_blank) {
                kept.pop();
            }
        }
        self.nodes = kept;
    }

    fn add(&mut self, at: usize, nodes: impl IntoIterator<Item = Node>) {
        self.nodes.splice(at..at, nodes);
        // One that was closed by `/>` can be so no longer.
        if self.end.is_empty() {
            self.start = None;
        }
    }

    /// The element as a text.
    pub(crate) fn to_xml(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        let closed = self.nodes.is_empty() && self.end.is_empty();
        match &self.start {
            Some(start) => out.push_str(start),
            None => {
                out.push('<');
                out.push_str(&self.name);
                for Attribute { key, raw, .. } in &self.attributes {
                    let quote = if raw.contains('\'') { '"' } else { '\'' };
                    out.extend([" ", key, "="]);
                    out.push(quote);
                    out.push_str(raw);
                    out.push(quote);
                }
                out.push_str(if closed { "/>" } else { ">" });
            }
        }
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write(out),
                Node::Text(_, raw) | Node::Aside(raw) => out.push_str(raw),
            }
        }
        match (self.end.as_str(), closed) {
            ("", false) => out.extend(["</", &self.name, ">"]),
            (end, _) => out.push_str(end),
        }
    }

    /// Reads a document of which only the element matters.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self, XmlError> {
        Document::parse(text).map(|document| document.root)
    }

    /// The same, and it must be of that kind.
    pub(crate) fn parse_as(text: &str, wanted: &'static str) -> Result<Self, XmlError> {
        Document::parse_as(text, wanted).map(|document| document.root)
    }

    fn opened(start: &BytesStart<'_>, raw: &str) -> Result<Self, quick_xml::Error> {
        let mut element = Self { name: start.name().as_ref().to_owned(), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute?;
            let value = attribute.normalized_value(XmlVersion::Explicit1_0)?.into_owned();
            let key = attribute.key.as_ref().to_owned();
            element.attributes.push(Attribute { key, value, raw: attribute.value.into_owned() });
        }
        element.start = Some(raw.to_owned());
        Ok(element)
    }
}

impl Node {
    /// The element, where it is one.
    pub(crate) fn element(&self) -> Option<&Element> {
        match self {
            Self::Element(element) => Some(element),
            Self::Text(..) | Self::Aside(_) => None,
        }
    }

    fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text, _) if text.trim().is_empty())
    }
}

impl Document {
    /// Reads a document. Its depth is bounded, as it is for libvirt.
    pub(crate) fn parse(text: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        let (mut before, mut root, mut after) = (String::new(), None, String::new());
        loop {
            let from = reader.buffer_position();
            let event = reader.read_event()?;
            let raw = slice(text, from, reader.buffer_position()).ok_or(XmlError::Incomplete)?;
            let node = match event {
                Event::Start(_) if open.len() == DEPTH => return Err(XmlError::Deep),
                Event::Start(start) => {
                    open.push(Element::opened(&start, raw)?);
                    continue;
                }
                Event::Empty(start) => Node::Element(Element::opened(&start, raw)?),
                Event::End(_) => {
                    let mut closed = open.pop().ok_or(XmlError::Incomplete)?;
                    raw.clone_into(&mut closed.end);
                    Node::Element(closed)
                }
                Event::Text(_) => Node::Text(raw.to_owned(), raw.to_owned()),
                Event::CData(text) => Node::Text((*text).to_owned(), raw.to_owned()),
                Event::GeneralRef(_) => {
                    let meaning: Cow<'_, str> = unescape(raw).map_err(quick_xml::Error::from)?;
                    Node::Text(meaning.into_owned(), raw.to_owned())
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => Node::Aside(raw.to_owned()),
                Event::Eof if open.is_empty() => {
                    return root.map(|root| Self { before, root, after }).ok_or(XmlError::Incomplete);
                }
                Event::Eof => return Err(XmlError::Incomplete),
            };
            match (open.last_mut(), node) {
                (Some(parent), node) => parent.nodes.push(node),
                (None, Node::Element(element)) if root.is_none() => root = Some(element),
                (None, Node::Element(_)) => return Err(XmlError::More),
                (None, node @ Node::Text(..)) if !node.is_blank() => return Err(XmlError::Incomplete),
                (None, Node::Text(_, raw) | Node::Aside(raw)) if root.is_none() => before.push_str(&raw),
                (None, Node::Text(_, raw) | Node::Aside(raw)) => after.push_str(&raw),
            }
        }
    }

    /// The same, and it must be of that kind.
    pub(crate) fn parse_as(text: &str, wanted: &'static str) -> Result<Self, XmlError> {
        let document = Self::parse(text)?;
        let found = &document.root.name;
        if found == wanted { Ok(document) } else { Err(XmlError::Other { found: found.clone(), wanted }) }
    }

    /// The document as a text.
    pub(crate) fn to_xml(&self) -> String {
        [self.before.as_str(), &self.root.to_xml(), &self.after].concat()
    }
}

fn slice(text: &str, from: u64, to: u64) -> Option<&str> {
    text.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_xml_reserves_comes_back_as_it_went() {
        let element = Element::new("disk").attr("file", "/a & b/<c>'\"").with([Element::text("name", "x < y & z")]);
        let read = Element::parse(&element.to_xml()).unwrap();
        assert_eq!(read.get("file"), Some("/a & b/<c>'\""));
        assert_eq!(read.text_at(&["name"]).as_deref(), Some("x < y & z"));
    }

    #[test]
    fn a_text_that_ends_too_early_or_goes_on_is_an_error() {
        let texts = ["", "<domain>", "<domain><name>x</name>", "words", "</domain>", "<a b=c/>", "<a/><b/>", "<a/>b"];
        for text in texts {
            assert!(Element::parse(text).is_err(), "{text:?}");
        }
        let deep = "<a>".repeat(100_000);
        assert!(matches!(Element::parse(&deep), Err(XmlError::Deep)));
        assert!(matches!(Element::parse_as("<pool/>", "domain"), Err(XmlError::Other { .. })));
    }

    #[test]
    fn every_byte_that_nobody_changed_comes_back() {
        let text = "<?xml version='1.0'?>\n<!-- a --><d  t = \"x\"\n>\n  <m unit='KiB' >1</m ><!--b--><q:c xmlns:q='u'/>\
                    <![CDATA[<&]]>&amp;&#65;<?pi x?>\n</d>\n<!-- end -->\n";
        let mut document = Document::parse(text).unwrap();
        assert_eq!(document.to_xml(), text);
        document.root.change("m", &[], |m| m.set_text("2"));
        assert_eq!(document.to_xml(), text.replace(">1<", ">2<"));
        document.root.change("m", &[], |m| m.set("unit", "MiB"));
        document.root.change("m", &[], |m| m.set_text("1"));
        assert_eq!(document.to_xml(), text.replace("<m unit='KiB' >", "<m unit='MiB'>"));
    }

    #[test]
    fn a_new_child_stands_where_it_belongs_and_like_its_neighbours() {
        let mut root = Element::parse("<d>\n  <a/>\n  <b/>\n</d>").unwrap();
        root.change("c", &["a"], |c| c.set("k", "v"));
        assert_eq!(root.to_xml(), "<d>\n  <a/>\n  <c k='v'/>\n  <b/>\n</d>");
        root.retain(|child| child.name != "c");
        assert_eq!(root.to_xml(), "<d>\n  <a/>\n  <b/>\n</d>");
    }

    proptest! {
        #[test]
        fn no_text_from_outside_makes_the_reader_stop_the_daemon(text in ".{0,200}") {
            let _ = Element::parse(&text);
        }

        #[test]
        fn whatever_can_be_read_is_written_as_it_was(text in "(<a( b='[&;x]{0,2}')?/?>|</a>|<!--x-->|[ x&;]|<!\\[CDATA\\[<\\]\\]>){0,12}") {
            if let Ok(document) = Document::parse(&text) {
                prop_assert_eq!(document.to_xml(), text);
            }
        }

        #[test]
        fn attributes_and_text_survive_the_wire(value in "[ -~]{0,40}", text in "[!-~]{1,40}") {
            let element = Element::text("a", text.clone()).attr("b", &value);
            let read = Element::parse(&element.to_xml()).unwrap();
            prop_assert_eq!(read.get("b"), Some(value.as_str()));
            prop_assert_eq!(read.content(), text);
        }
    }
}
