//! Pools and volumes.

use std::path::PathBuf;

use super::{Element, XmlError};
use crate::guest::model::{Disk, Pool};

/// The definition of a directory pool. Its mode is that of a directory which libvirt makes.
pub(crate) fn pool_xml(pool: &Pool) -> String {
    let mode = Element::text("mode", format!("0{:o}", pool.mode));
    let path = Element::text("path", pool.path.display().to_string());
    let target = Element::new("target").with([path, Element::new("permissions").with([mode])]);
    Element::new("pool").attr("type", "dir").with([Element::text("name", &pool.name), target]).to_xml()
}

/// Types of pools whose volumes are files of a directory.
const DIRECTORIES: [&str; 3] = ["dir", "fs", "netfs"];

/// The directory of a pool, `None` for a pool whose volumes are no files.
pub(crate) fn read_pool(xml: &str) -> Result<Option<PathBuf>, XmlError> {
    let root = Element::parse_as(xml, "pool")?;
    let directory = root.get("type").is_some_and(|kind| DIRECTORIES.contains(&kind));
    Ok(root.text_at(&["target", "path"]).filter(|_| directory).map(PathBuf::from))
}

/// The definition of a volume that takes no space until it is written. libvirt makes it root's with mode 0600 and gives it
/// to the guest's process at the start.
pub(crate) fn volume_xml(disk: &Disk) -> String {
    let format = Element::new("format").attr("type", disk.format.as_str());
    Element::new("volume")
        .with([Element::text("name", &disk.volume)])
        .with([
            Element::text("capacity", disk.size.to_string()).attr("unit", "bytes"),
            Element::text("allocation", "0"),
        ])
        .with([Element::new("target").with([format])])
        .to_xml()
}

/// What is read of a volume.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VolumeRead {
    /// Its format, as libvirt found it when it last listed the pool; `None` where it has none or does not say it.
    pub(crate) format: Option<String>,
    /// The image below it.
    pub(crate) backing: Option<PathBuf>,
}

/// Reads a volume.
pub(crate) fn read_volume(xml: &str) -> Result<VolumeRead, XmlError> {
    let root = Element::parse_as(xml, "volume")?;
    let format = root.at(&["target", "format"]).and_then(|format| format.get("type"));
    let backing = root.text_at(&["backingStore", "path"]).filter(|path| !path.is_empty());
    Ok(VolumeRead { format: format.map(str::to_owned), backing: backing.map(PathBuf::from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_its_path_and_its_octal_mode() {
        let pool = Pool { name: "p".to_owned(), path: "/srv/a b&c".into(), mode: 0o711, encrypted: false };
        let xml = pool_xml(&pool);
        assert_eq!(read_pool(&xml).unwrap(), Some(pool.path));
        assert!(xml.contains("<mode>0711</mode>"), "{xml}");
    }

    #[test]
    fn a_pool_that_is_no_directory_has_no_path_for_us() {
        let xml = "<pool type='logical'><name>vg</name><target><path>/dev/vg</path></target></pool>";
        assert_eq!(read_pool(xml).unwrap(), None);
    }
}
