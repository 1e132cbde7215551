//! XML as a tree of elements: enough of it to write what libvirt reads and to read what libvirt writes.

use quick_xml::escape::unescape;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

/// Why a text is not one XML element.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// The text breaks XML's own rules.
    #[error("is not well-formed XML")]
    Syntax(#[from] quick_xml::Error),
    /// The text ends inside an element, or holds none.
    #[error("holds no complete XML element")]
    Incomplete,
}

/// An element: its name with any prefix, its attributes in their order, its child elements and its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    pub(crate) text: String,
}

impl Element {
    /// An empty element.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// An element that holds only text.
    pub(crate) fn text(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into(), ..Self::default() }
    }

    /// The same with one more attribute.
    pub(crate) fn attr(mut self, key: &str, value: impl Into<String>) -> Self {
        self.attributes.push((key.to_owned(), value.into()));
        self
    }

    /// The same with one more child.
    pub(crate) fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// The same with more children.
    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// The value of an attribute.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The first descendant along a path of element names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.children.iter().find(|c| c.name == *name))
    }

    /// The text of the first descendant along a path.
    pub(crate) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(|element| element.text.trim())
    }

    /// The element as a document of its own, indented for people.
    pub(crate) fn to_xml(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        // A Vec never refuses bytes, so that there is no error to hand on.
        let _ = self.write(&mut writer);
        String::from_utf8(writer.into_inner()).unwrap_or_default()
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(self.name.as_str());
        for (key, value) in &self.attributes {
            start.push_attribute((key.as_str(), value.as_str()));
        }
        if self.children.is_empty() && self.text.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if !self.text.is_empty() {
            writer.write_event(Event::Text(BytesText::new(&self.text)))?;
        }
        for child in &self.children {
            child.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(self.name.as_str())))
    }

    /// Reads a document. Its depth costs heap, not stack.
    pub(crate) fn parse(text: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        loop {
            let closed = match reader.read_event()? {
                Event::Start(start) => {
                    open.push(Self::opened(&start)?);
                    continue;
                }
                Event::Empty(start) => Self::opened(&start)?,
                Event::End(_) => open.pop().ok_or(XmlError::Incomplete)?,
                Event::Text(text) => {
                    add_text(&mut open, &text);
                    continue;
                }
                Event::CData(text) => {
                    add_text(&mut open, &text);
                    continue;
                }
                Event::GeneralRef(name) => {
                    let text = format!("&{};", &*name);
                    add_text(&mut open, &unescape(&text).map_err(quick_xml::Error::from)?);
                    continue;
                }
                Event::Eof => return Err(XmlError::Incomplete),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            };
            match open.last_mut() {
                Some(parent) => parent.children.push(closed),
                None => return Ok(closed),
            }
        }
    }

    fn opened(start: &BytesStart<'_>) -> Result<Self, quick_xml::Error> {
        let mut element = Self::new(start.name().as_ref());
        for attribute in start.attributes() {
            let attribute = attribute?;
            let value = attribute.normalized_value(XmlVersion::Explicit1_0)?;
            element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_xml_reserves_comes_back_as_it_went() {
        let element = Element::new("disk").attr("file", "/a & b/<c>'\"").child(Element::text("name", "x < y & z"));
        assert_eq!(Element::parse(&element.to_xml()).unwrap(), stripped(element));
    }

    #[test]
    fn a_text_that_ends_too_early_is_an_error() {
        for text in ["", "<domain>", "<domain><name>x</name>", "words", "</domain>", "<a b=c/>"] {
            assert!(Element::parse(text).is_err(), "{text:?}");
        }
    }

    /// Text beside children is only indentation.
    fn stripped(mut element: Element) -> Element {
        if !element.children.is_empty() {
            element.text = "\n  \n".to_owned();
        }
        element
    }

    proptest! {
        #[test]
        fn no_text_from_outside_makes_the_reader_stop_the_daemon(text in ".{0,200}") {
            let _ = Element::parse(&text);
        }

        #[test]
        fn attributes_and_text_survive_the_wire(value in "[ -~]{0,40}", text in "[!-~]{1,40}") {
            let element = Element::text("a", text).attr("b", value);
            prop_assert_eq!(Element::parse(&element.to_xml()).unwrap(), element);
        }
    }
}
