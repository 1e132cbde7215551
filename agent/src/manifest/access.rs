//! Who may read the manifest's files, and what keeps a user from it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{self, AccessFlags, Gid, Group, Uid, User};

/// Links on the way to a file that are followed; the kernel's own limit (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What is wanted of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To read a file.
    Read,
    /// To list a directory and to reach what is in it.
    List,
    /// To pass through a directory.
    Enter,
}

impl Access {
    /// The bits of a class of users, as in a mode.
    fn bits(self) -> u32 {
        match self {
            Self::Read => 0o4,
            Self::List => 0o5,
            Self::Enter => 0o1,
        }
    }

    fn flags(self) -> AccessFlags {
        match self {
            Self::Read => AccessFlags::R_OK,
            Self::List => AccessFlags::R_OK | AccessFlags::X_OK,
            Self::Enter => AccessFlags::X_OK,
        }
    }

    /// The argument of chmod(1) that gives it to everybody: a manifest holds no secret.
    fn mend(self) -> &'static str {
        match self {
            Self::Read => "a+r",
            Self::List => "a+rx",
            Self::Enter => "a+x",
        }
    }
}

/// A file or directory whose mode keeps a user from the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path} belongs to {owner}:{group} with mode {mode:04o}, which keeps user {user} out; run: chmod {mend} {path}"
)]
pub struct Obstacle {
    path: PathBuf,
    owner: String,
    group: String,
    mode: u32,
    user: String,
    mend: &'static str,
}

impl Obstacle {
    /// What is closed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn new(path: &Path, access: Access, user: String) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let owner = name(User::from_uid(metadata.uid().into()).ok().flatten().map(|user| user.name), metadata.uid());
        let group = name(Group::from_gid(metadata.gid().into()).ok().flatten().map(|group| group.name), metadata.gid());
        let mode = metadata.mode() & 0o7777;
        Some(Self { path: path.to_owned(), owner, group, mode, user, mend: access.mend() })
    }
}

/// A name, or the number of one that has none here.
fn name(name: Option<String>, number: u32) -> String {
    name.unwrap_or_else(|| number.to_string())
}

/// What keeps this process from a file that the kernel refused; `None` if no mode tells.
pub(super) fn of_this_process(path: &Path, access: Access) -> Option<Obstacle> {
    let may = |path: &Path, access: Access| unistd::access(path, access.flags()).is_ok();
    let (path, access) = first(&std::path::absolute(path).ok()?, access, &may, MOST_LINKS)?;
    let uid = unistd::geteuid();
    let user = name(User::from_uid(uid).ok().flatten().map(|user| user.name), uid.as_raw());
    Obstacle::new(&path, access, user)
}

/// Another user, by what modes ask of it.
pub(super) struct Reader {
    name: String,
    uid: Uid,
    groups: Vec<Gid>,
}

impl Reader {
    /// The user of this name, with its groups; `None` where there is none.
    pub(super) fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok().flatten()?;
        let groups = unistd::getgrouplist(&std::ffi::CString::new(name).ok()?, user.gid).ok()?;
        Some(Self { name: user.name, uid: user.uid, groups })
    }

    /// What keeps it from a file by the modes on the way. What cannot be looked at is taken as open.
    pub(super) fn obstacle(&self, path: &Path, access: Access) -> Option<Obstacle> {
        let may = |path: &Path, access: Access| fs::metadata(path).map_or(true, |found| self.may(&found, access));
        let (path, access) = first(&std::path::absolute(path).ok()?, access, &may, MOST_LINKS)?;
        Obstacle::new(&path, access, self.name.clone())
    }

    fn may(&self, found: &Metadata, access: Access) -> bool {
        let class = match () {
            () if self.uid.is_root() => return true,
            () if found.uid() == self.uid.as_raw() => 6,
            () if self.groups.iter().any(|group| group.as_raw() == found.gid()) => 3,
            () => 0,
        };
        (found.mode() >> class) & access.bits() == access.bits()
    }
}

/// The first file or directory on the way to `path`, from the root, that is closed.
fn first(path: &Path, access: Access, may: &impl Fn(&Path, Access) -> bool, links: usize) -> Option<(PathBuf, Access)> {
    let way: Vec<&Path> = path.ancestors().collect();
    for at in way.into_iter().rev() {
        if let (Ok(target), true) = (fs::read_link(at), links > 0) {
            let rest = path.strip_prefix(at).ok()?;
            let target = at.parent()?.join(target);
            // Not joined where it is empty: that would put a slash behind a file.
            let target = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
            return first(&target, access, may, links - 1);
        }
        let wanted = if at == path { access } else { Access::Enter };
        if !may(at, wanted) {
            return Some((at.to_owned(), wanted));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn what_a_mode_closes_is_named_with_the_command_that_opens_it() {
        let root = std::env::temp_dir().join(format!("bulkhead-access-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        let (directory, file, link) = (root.join("etc"), root.join("etc/host.toml"), root.join("link.toml"));
        fs::write(&file, "").unwrap();
        symlink("etc/host.toml", &link).unwrap();
        let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        // Nobody of this host: whoever runs the test owns the files.
        let stranger = Reader { name: "bulkhead".to_owned(), uid: 4_000_000.into(), groups: vec![4_000_000.into()] };
        mode(&root, 0o755);
        mode(&directory, 0o755);
        mode(&file, 0o600);
        for path in [&file, &link] {
            let said = stranger.obstacle(path, Access::Read).unwrap().to_string();
            assert!(said.starts_with(&format!("{} belongs to ", file.display())), "{said}");
            let end = format!("with mode 0600, which keeps user bulkhead out; run: chmod a+r {}", file.display());
            assert!(said.ends_with(&end), "{said}");
        }
        mode(&directory, 0o700);
        let said = stranger.obstacle(&link, Access::Read).unwrap().to_string();
        assert!(said.ends_with(&format!("run: chmod a+x {}", directory.display())), "{said}");
        let said = stranger.obstacle(&directory, Access::List).unwrap().to_string();
        assert!(said.ends_with(&format!("run: chmod a+rx {}", directory.display())), "{said}");
        mode(&directory, 0o755);
        mode(&file, 0o644);
        assert_eq!(stranger.obstacle(&link, Access::Read), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
