//! Limits as cgroupfs has them. Reads only: who writes is systemd.
//!
//! Nothing is looked for: the group is the one that systemd names for the slice, above it are a handful of groups and below it
//! those of the guest's machine, so that the work for each guest is bounded whatever runs on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bulkhead_types::{Known, Limit};
use cgroups_rs::hierarchies::{UNIFIED_MOUNTPOINT, is_cgroup2_unified_mode};

use crate::error::Error;
use crate::model::{Bound, Bounds, Cgroup, Control, Limits};

/// The group that libvirt has to itself below the scope that systemd makes for a machine.
pub(crate) const LIBVIRT: &str = "libvirt";
/// How many groups with processes a slice may have: one machine, and one more while it is started anew.
const MACHINES: usize = 8;

/// cgroupfs during one look: the groups above all guests are read once.
pub(crate) struct Tree {
    root: PathBuf,
    above: BTreeMap<PathBuf, Bounds>,
}

impl Tree {
    /// The host's.
    pub(crate) fn open() -> Result<Self, Error> {
        if is_cgroup2_unified_mode() { Ok(Self::at(UNIFIED_MOUNTPOINT.into())) } else { Err(Error::NotUnified) }
    }

    const fn at(root: PathBuf) -> Self {
        Self { root, above: BTreeMap::new() }
    }

    /// The controls that no group of this machine can have.
    pub(crate) fn missing(&self) -> Result<BTreeSet<Control>, Error> {
        let path = self.root.join("cgroup.controllers");
        let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let there = |control: &Control| text.split_whitespace().any(|word| word == control.name());
        Ok(Control::ALL.into_iter().filter(|control| !there(control)).collect())
    }

    /// Reads the slice's group at `path`, as systemd's `ControlGroup` names it (from the root, with a leading `/`).
    ///
    /// `Ok(None)` when the group is gone, also when it goes while it is read.
    pub(crate) fn slice(&mut self, path: &str) -> Result<Option<Cgroup>, Error> {
        let group = Path::new(path);
        let Some(populated) = populated(&self.directory(group))? else { return Ok(None) };
        let limits = Limits::try_from_fn(|control| self.limit(group, control))?;
        let own = Bounds::from_fn(|control| Known::Known(bound(group, limits[control])));
        let above = group.parent().map(|parent| self.above(parent));
        let bounds = above.into_iter().chain(self.below(group)).fold(own, tighter);
        Ok(Some(Cgroup { path: path.to_owned(), limits, bounds, populated }))
    }

    /// The tightest limits from a group up to the root.
    fn above(&mut self, group: &Path) -> Bounds {
        if let Some(found) = self.above.get(group) {
            return found.clone();
        }
        let along = group.ancestors().skip(1).map(|above| self.bounds(above)).fold(self.bounds(group), tighter);
        self.above.insert(group.to_owned(), along.clone());
        along
    }

    /// The limits of the machines in a slice: of the scope that systemd has for each, and of libvirt's group in it.
    fn below(&self, slice: &Path) -> Vec<Bounds> {
        let machines = match self.machines(slice) {
            Ok(machines) => machines,
            Err(error) => return vec![Bounds::from_fn(|_| Err::<Bound, _>(&error).into())],
        };
        machines.iter().flat_map(|scope| [self.bounds(scope), self.bounds(&scope.join(LIBVIRT))]).collect()
    }

    /// The groups in a slice that have processes.
    fn machines(&self, slice: &Path) -> Result<Vec<PathBuf>, Error> {
        let path = self.directory(slice);
        let unreadable = |source| Error::Read { path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => return Ok(Vec::new()),
            Err(source) => return Err(unreadable(source)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            if !entry.file_type().map_err(unreadable)?.is_dir() || populated(&entry.path())? != Some(true) {
                continue;
            }
            if found.len() == MACHINES {
                return Err(Error::Crowded { group: path.clone(), most: MACHINES });
            }
            found.push(slice.join(entry.file_name()));
        }
        Ok(found)
    }

    fn bounds(&self, group: &Path) -> Bounds {
        Bounds::from_fn(|control| self.limit(group, control).map(|limit| bound(group, limit)).into())
    }

    /// A file that is not there is a controller that is not enabled for the group (or the root, which has no limits): no limit.
    fn limit(&self, group: &Path, control: Control) -> Result<Limit, Error> {
        let path = self.directory(group).join(control.file());
        match fs::read_to_string(&path) {
            Ok(text) => control.parse(&text).ok_or(Error::Limit { path, text }),
            Err(error) if gone(&error) => Ok(Limit::Max),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    fn directory(&self, group: &Path) -> PathBuf {
        self.root.join(group.strip_prefix("/").unwrap_or(group))
    }
}

fn bound(group: &Path, limit: Limit) -> Bound {
    Bound { limit, group: group.display().to_string() }
}

/// What holds below both, each control for itself. Below what could not be read anything may hold.
fn tighter(one: Bounds, other: Bounds) -> Bounds {
    let least = |one: &Known<Bound>, other: &Known<Bound>| match (one, other) {
        (Known::Known(one), Known::Known(other)) if other.limit < one.limit => Known::Known(other.clone()),
        (Known::Known(_), Known::Unknown(why)) => Known::Unknown(why.clone()),
        _ => one.clone(),
    };
    Bounds::from_fn(|control| least(&one[control], &other[control]))
}

/// Opening said that there is no such file, or reading said that the group has just gone (ENODEV of kernfs).
fn gone(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

/// The line `populated` of `cgroup.events`; `None` when the group is gone.
fn populated(directory: &Path) -> Result<Option<bool>, Error> {
    let path = directory.join("cgroup.events");
    match fs::read_to_string(&path) {
        Ok(text) if text.lines().any(|line| line == "populated 1") => Ok(Some(true)),
        Ok(text) if text.lines().any(|line| line == "populated 0") => Ok(Some(false)),
        Ok(_) => Err(Error::Form { path, line: "populated" }),
        Err(error) if gone(&error) => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: &str = "/machine.slice/machine-bulkhead.slice/machine-bulkhead-web.slice";
    const SCOPE: &str = "machine-qemu.scope";

    /// A cgroupfs of plain files, gone at the end.
    struct Files(Tree);

    impl Files {
        fn new() -> Self {
            use std::sync::atomic::{AtomicU32, Ordering};
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("bulkhead-cgroup-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let files = Self(Tree::at(std::env::temp_dir().join(name)));
            let own = [("memory.max", "805306368\n"), ("cpu.max", "150000 100000\n"), ("pids.max", "256\n")];
            files
                .group(SLICE, &own)
                .group(&format!("{SLICE}/{SCOPE}"), &[])
                .group(&format!("{SLICE}/{SCOPE}/libvirt"), &[])
        }

        fn group(self, path: &str, files: &[(&str, &str)]) -> Self {
            let directory = self.0.directory(Path::new(path));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
            for (name, text) in files {
                fs::write(directory.join(name), text).unwrap();
            }
            self
        }

        fn read(&mut self) -> Cgroup {
            self.0.slice(SLICE).unwrap().unwrap()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0.root).unwrap();
        }
    }

    fn known(bounds: &Bounds, control: Control) -> (Limit, &str) {
        let bound = bounds[control].known().unwrap();
        (bound.limit, bound.group.strip_prefix(SLICE).unwrap_or(&bound.group))
    }

    #[test]
    fn of_equal_limits_the_slice_s_own_is_named() {
        let equal = [("memory.max", "805306368\n"), ("cpu.max", "max 100000\n"), ("pids.max", "max\n")];
        let group = Files::new().group(&format!("{SLICE}/{SCOPE}/libvirt"), &equal).read();
        assert_eq!(known(&group.bounds, Control::Memory), (Limit::At(805_306_368), ""));
        assert_eq!(known(&group.bounds, Control::Cpu), (Limit::At(1_500_000), ""));
        assert_eq!(known(&group.bounds, Control::Pids), (Limit::At(256), ""));
        assert!(group.populated);
    }

    #[test]
    fn the_tightest_limit_along_the_path_is_named_with_its_group() {
        let mut files = Files::new()
            .group("/machine.slice", &[("pids.max", "100\n")])
            .group(&format!("{SLICE}/{SCOPE}"), &[("cpu.max", "50000 100000\n")])
            .group(&format!("{SLICE}/{SCOPE}/libvirt"), &[("memory.max", "209715200\n"), ("pids.max", "300\n")]);
        let group = files.read();
        assert_eq!(known(&group.bounds, Control::Memory), (Limit::At(209_715_200), "/machine-qemu.scope/libvirt"));
        assert_eq!(known(&group.bounds, Control::Cpu), (Limit::At(500_000), "/machine-qemu.scope"));
        assert_eq!(known(&group.bounds, Control::Pids), (Limit::At(100), "/machine.slice"));
        assert_eq!(group.limits[Control::Memory], Limit::At(805_306_368));
    }

    #[test]
    fn a_group_in_which_nothing_runs_bounds_nobody() {
        let mut files = Files::new().group(&format!("{SLICE}/left.scope"), &[("pids.max", "1\n")]);
        fs::write(files.0.directory(Path::new(SLICE)).join("left.scope/cgroup.events"), "populated 0\n").unwrap();
        assert_eq!(known(&files.read().bounds, Control::Pids), (Limit::At(256), ""));
    }

    #[test]
    fn what_cannot_be_understood_below_the_slice_is_unknown_and_not_unlimited() {
        let group = Files::new().group(&format!("{SLICE}/{SCOPE}/libvirt"), &[("pids.max", "many\n")]).read();
        let Known::Unknown(why) = &group.bounds[Control::Pids] else { panic!("{:?}", group.bounds) };
        assert!(why.contains("pids.max") && why.contains("many"), "{why}");
        // The others are known, and so is the slice itself.
        assert_eq!(known(&group.bounds, Control::Memory).0, Limit::At(805_306_368));
        assert_eq!(group.limits[Control::Pids], Limit::At(256));
    }

    #[test]
    fn more_groups_than_machines_are_unknown_and_not_all_read() {
        let mut files = Files::new();
        for number in 0..=MACHINES {
            files = files.group(&format!("{SLICE}/{number}.scope"), &[]);
        }
        let group = files.read();
        assert!(Control::ALL.iter().all(|control| group.bounds[*control].known().is_none()), "{:?}", group.bounds);
    }

    #[test]
    fn a_slice_that_cannot_be_understood_is_an_error_and_one_that_is_gone_is_none() {
        let mut files = Files::new().group(SLICE, &[("cpu.max", "half\n")]);
        assert!(matches!(files.0.slice(SLICE), Err(Error::Limit { .. })));
        assert_eq!(files.0.slice("/machine.slice/other.slice").unwrap(), None);
    }

    #[test]
    fn a_controller_that_the_root_lacks_is_missing() {
        let files = Files::new();
        fs::write(files.0.root.join("cgroup.controllers"), "cpuset cpu io pids\n").unwrap();
        assert_eq!(files.0.missing().unwrap(), BTreeSet::from([Control::Memory]));
    }
}
