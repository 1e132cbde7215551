//! What the host hands into a machine, as a disk of its own: the package, the lab's program, the rooms' test programs, the
//! cases' files, and the tasks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::{Error, MKE2FS, at};
use crate::inside::{TASKS, Task};
use crate::program::output;

/// Small files of the payload, by their names in it.
const FILES: [(&str, &str); 2] =
    [("prepare.sh", include_str!("prepare.sh")), ("bulkhead-lab.service", include_str!("bulkhead-lab.service"))];

/// The disk, which is the same for all machines: each takes the task that its kernel's command line names.
pub(crate) struct Payload {
    disk: PathBuf,
}

impl Payload {
    /// Stages the payload in `target/lab/payload` and writes its disk.
    ///
    /// `programs` are test programs of the rooms and their names in the payload, `tasks` the machines' tasks and theirs.
    ///
    /// # Errors
    /// When a file is not there or cannot be copied, or mke2fs fails.
    pub(crate) fn write(
        root: &Path,
        lab: &Path,
        package: &Path,
        programs: &[(String, PathBuf)],
        tasks: &[(&str, &Task)],
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
        let folder = stage.join(TASKS);
        fs::create_dir(&folder).map_err(at("make", &folder))?;
        for (name, task) in tasks {
            let file = folder.join(format!("{name}.json"));
            let text = serde_json::to_vec(task).map_err(|error| at("write", &file)(error.into()))?;
            fs::write(&file, text).map_err(at("write", &file))?;
        }
        let disk = lab.join("payload.img");
        output(
            Command::new(MKE2FS)
                .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
                .args([&stage, &disk])
                .arg("1G"),
            &|_| (),
        )?;
        Ok(Self { disk })
    }

    /// Its disk.
    pub(super) fn disk(&self) -> &Path {
        &self.disk
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(|_| ()).map_err(at("copy", from))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(at("make", to))?;
    for entry in fs::read_dir(from).map_err(at("list", from))? {
        let path = entry.map_err(at("list", from))?.path();
        let copied = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &copied)?;
        } else {
            copy(&path, &copied)?;
        }
    }
    Ok(())
}
