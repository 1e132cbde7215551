//! What is followed, whatever stands in the files of the manifest and of the state.

use super::*;
use crate::generations::Directories;
use std::fs;
use std::path::PathBuf;

/// A host's state and manifest, removed at the end.
struct Ground {
    root: PathBuf,
    generations: Generations,
}

impl Ground {
    /// Generations 1 to 3 are VLANs 1 to 3, the third is followed, and the files are the third.
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("bulkhead-boot-{name}-{}", std::process::id()));
        let (state, runtime) = (root.join("state"), root.join("run"));
        fs::create_dir_all(&runtime).unwrap();
        let generations = Generations::new(Directories { state, runtime });
        for vlan in 1..=3 {
            let generation = generations.keep(&text(vlan)).unwrap();
            generations.mark(Some(&generation)).unwrap();
        }
        let ground = Self { root, generations };
        ground.write(&text(3));
        ground
    }

    fn write(&self, manifest: &str) {
        fs::write(self.root.join("host.toml"), manifest).unwrap();
    }

    fn damage(&self, number: u64, bytes: &[u8]) {
        fs::write(self.generations.file(number), bytes).unwrap();
    }

    fn rebooted(&self) {
        fs::remove_file(self.root.join("run/generation")).unwrap();
    }

    fn choose(&self) -> String {
        self.choose_as(Ok("0123456789abcdef0123456789abcdef".parse().unwrap()))
    }

    /// What is followed in a word, and what is said beside it.
    fn choose_as(&self, id: Result<HostId, IdentityError>) -> String {
        match choose(&self.generations, &self.root.join("host.toml"), id) {
            Ok(Choice::Nothing(why)) => format!("nothing: {why:?}"),
            Ok(Choice::Files(right)) => format!("files: VLAN {}", right.desired.netlink.segments[0].vlan),
            Ok(Choice::Generation(kept)) => {
                let instead = kept.instead.map(|problem| problem.message).unwrap_or_default();
                format!("generation {}: {instead}{}", kept.generation.number, kept.drawn)
            }
            Err(problem) => format!("held: {}", problem.message),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn text(vlan: u16) -> String {
    format!("[trunk.eth1]\n[segment.lan]\ntrunk = \"eth1\"\nvlan = {vlan}\n")
}

#[test]
fn a_boot_takes_up_the_files_and_a_restart_what_was_followed() {
    let ground = Ground::new("files");
    ground.write(&text(4));
    assert_eq!(ground.choose(), "generation 3: ");
    ground.rebooted();
    assert_eq!(ground.choose(), "files: VLAN 4");
}

#[test]
fn a_manifest_that_declares_nothing_removes_nothing_at_a_boot() {
    for manifest in ["", "# nothing\n", "[trunk.eth1]\n", "[trunk.eth1]\n[segment.lan]\ntrunk = \"et"] {
        let ground = Ground::new("nothing");
        ground.write(manifest);
        assert_eq!(ground.choose(), "generation 3: ", "at a restart: {manifest}");
        ground.rebooted();
        let said = ground.choose();
        assert!(said.starts_with("generation 3: the manifest cannot be applied:\n"), "{said}");
    }
}

#[test]
fn a_damaged_generation_is_the_files_where_they_are_still_what_was_applied() {
    let ground = Ground::new("same");
    for bytes in [&b""[..], b"\xff\x00\xfe", b"# sha256 of the lines below: 0\n", b"vlan = = 3\n"] {
        ground.damage(3, bytes);
        assert_eq!(ground.choose(), "files: VLAN 3");
    }
    fs::remove_file(ground.generations.file(3)).unwrap();
    assert_eq!(ground.choose(), "files: VLAN 3");
}

#[test]
fn a_damaged_generation_falls_back_to_the_one_before_and_says_so() {
    let ground = Ground::new("before");
    ground.write(&text(4));
    for bytes in [&b""[..], b"\xff\x00\xfe", b"# sha256 of the lines below: 0\n", b"vlan = = 3\n"] {
        ground.damage(3, bytes);
        let said = ground.choose();
        assert!(said.starts_with("generation 2: ") && said.contains("damaged"), "{said}");
        assert!(said.contains("generation 2 is followed instead. To follow the files, run bulkhead apply"), "{said}");
    }
    ground.damage(2, b"\xff");
    assert!(ground.choose().starts_with("generation 1: "));
    ground.damage(1, b"");
    let said = ground.choose();
    assert!(
        said.starts_with("held: ") && said.ends_with("no earlier one can be followed. Run bulkhead apply"),
        "{said}"
    );
    ground.damage(3, b"\xff");
    ground.write("");
    ground.rebooted();
    assert!(ground.choose().starts_with("held: "), "what is lost is no order to follow nothing");
}

#[test]
fn a_generation_that_an_earlier_version_was_told_to_be_nothing_is_followed_as_nothing() {
    let ground = Ground::new("told");
    ground.damage(3, b"# nothing\n");
    ground.write("# nothing\n");
    assert!(ground.choose().starts_with("nothing: Some("), "at a restart");
    ground.rebooted();
    assert!(ground.choose().starts_with("nothing: Some("), "at a boot");
}

#[test]
fn a_whole_generation_that_this_version_refuses_is_not_replaced_by_an_earlier_one() {
    let ground = Ground::new("refused");
    let generation = ground.generations.keep("[trunk.eth1]\ncolour = 1\n").unwrap();
    ground.generations.mark(Some(&generation)).unwrap();
    let said = ground.choose();
    assert!(said.starts_with("held: generation 4 cannot be followed by this version"), "{said}");
}

#[test]
fn without_an_identity_the_host_stays_as_it_is() {
    let ground = Ground::new("identity");
    let id = || Err(HostId::from_file(Path::new("/nonexistent")).unwrap_err());
    let said = ground.choose_as(id());
    assert!(said.starts_with("held: cannot take this host's identity from /etc/machine-id"), "{said}");
    assert!(said.ends_with("Write one: systemd-machine-id-setup"), "{said}");
    ground.rebooted();
    assert!(ground.choose_as(id()).starts_with("held: cannot take this host's identity"));
    ground.generations.mark(None).unwrap();
    assert_eq!(ground.choose_as(id()), "nothing: None", "what was torn down needs none");
}

#[test]
fn a_first_boot_without_a_manifest_follows_nothing() {
    let ground = Ground::new("first");
    ground.rebooted();
    fs::remove_dir_all(ground.root.join("state")).unwrap();
    fs::remove_file(ground.root.join("host.toml")).unwrap();
    let said = ground.choose();
    assert!(said.starts_with("nothing: Some(") && said.contains("does not exist"), "{said}");
}
