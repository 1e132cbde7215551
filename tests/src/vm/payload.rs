//! What the host hands into a machine, as a disk of its own: the package, the lab's program, the rooms' test programs, the
//! cases' files, and the task.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::{Error, MKE2FS, at};
use crate::inside::Task;
use crate::program::output;

/// Small files of the payload, by their names in it.
const FILES: [(&str, &str); 4] = [
    ("prepare.sh", include_str!("prepare.sh")),
    ("bulkhead-lab.service", include_str!("bulkhead-lab.service")),
    ("lab-keys.service", include_str!("lab-keys.service")),
    ("keys.nft", include_str!("keys.nft")),
];

/// Everything of the payload but the task, which is another one at each boot.
pub(crate) struct Payload {
    stage: PathBuf,
    disk: PathBuf,
}

impl Payload {
    /// Stages the payload in `target/lab/payload`.
    ///
    /// `programs` are test programs of the rooms and their names in the payload.
    ///
    /// # Errors
    /// When a file is not there or cannot be copied.
    pub(crate) fn stage(
        root: &Path,
        lab: &Path,
        package: &Path,
        programs: &[(String, PathBuf)],
    ) -> Result<Self, Error> {
        let stage = lab.join("payload");
        match fs::remove_dir_all(&stage) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", &stage)(error)),
            _ => {}
        }
        fs::create_dir_all(&stage).map_err(at("make", &stage))?;
        // Not by its name, under which the build of the tests may have put another one meanwhile.
        copy(Path::new("/proc/self/exe"), &stage.join("bulkhead-lab"))?;
        copy(package, &stage.join("bulkhead.deb"))?;
        for (name, program) in programs {
            copy(program, &stage.join(name))?;
        }
        copy_tree(&root.join("examples"), &stage.join("examples"))?;
        copy_tree(&root.join("tests/cases"), &stage.join("cases"))?;
        for (name, text) in FILES {
            fs::write(stage.join(name), text).map_err(at("write", &stage.join(name)))?;
        }
        Ok(Self { stage, disk: lab.join("payload.img") })
    }

    /// Writes the disk with `task` in it and returns its path.
    ///
    /// # Errors
    /// When mke2fs fails.
    pub(super) fn write(&self, task: &Task) -> Result<&Path, Error> {
        let place = self.stage.join("task.json");
        let text = serde_json::to_vec(task).map_err(|error| at("write", &place)(error.into()))?;
        fs::write(&place, text).map_err(at("write", &place))?;
        output(
            Command::new(MKE2FS)
                .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
                .args([&self.stage, &self.disk])
                .arg("1G"),
            &|_| (),
        )?;
        Ok(&self.disk)
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(|_| ()).map_err(at("copy", from))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(at("make", to))?;
    for entry in fs::read_dir(from).map_err(at("list", from))? {
        let path = entry.map_err(at("list", from))?.path();
        let place = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &place)?;
        } else {
            copy(&path, &place)?;
        }
    }
    Ok(())
}
