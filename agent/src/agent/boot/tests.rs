//! What is followed, whatever stands in the files of the manifest and of the state.

use super::*;
use crate::agent::Directories;
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
        fs::create_dir_all(root.join("etc/host.d")).unwrap();
        let ground = Self { root, generations: Generations::new(Directories { state, runtime }) };
        for vlan in 1..=3 {
            ground.apply(&text(vlan));
        }
        ground.write("host.toml", &text(3));
        ground
    }

    /// The same, with a guest in a file of its own as generation 4.
    fn with_parts(name: &str) -> Self {
        let ground = Self::new(name);
        ground.write("host.d/web.toml", WEB);
        ground.apply_files();
        ground
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.join("etc").join(file), text).unwrap();
    }

    /// As `bulkhead apply` of one file does.
    fn apply(&self, text: &str) {
        let generation = self.generations.keep(text).unwrap();
        self.generations.mark(Some(&generation)).unwrap();
    }

    /// As `bulkhead apply` does.
    fn apply_files(&self) {
        let sources = manifest::read(&self.root.join("etc")).unwrap();
        self.apply(&manifest::parse(&sources).unwrap().text());
    }

    fn damage(&self, number: u64, bytes: &[u8]) {
        fs::write(self.generations.file(number), bytes).unwrap();
    }

    fn reboot(&self) {
        fs::remove_file(self.root.join("run/generation")).unwrap();
    }

    fn choose(&self) -> String {
        self.choose_as(Ok("0123456789abcdef0123456789abcdef".parse().unwrap()))
    }

    /// The same where the daemon already runs, and has found this text when it was started.
    fn choose_again(&self, found: Option<&str>) -> String {
        let found = found.map(sha256);
        self.choose_from(Ok("0123456789abcdef0123456789abcdef".parse().unwrap()), Takes::Found(found.as_deref()))
    }

    fn choose_as(&self, id: Result<HostId, IdentityError>) -> String {
        self.choose_from(id, Takes::Any)
    }

    /// What is followed in a word, and what is said of it.
    fn choose_from(&self, id: Result<HostId, IdentityError>, takes: Takes<'_>) -> String {
        let manifest = self.root.join("etc");
        match choose(&Start { generations: &self.generations, manifest: &manifest, id, takes }) {
            Ok(Choice::Nothing(why)) => format!("nothing: {why:?}"),
            Ok(Choice::Files(right)) => format!("files: VLAN {}", right.desired.netlink.segments[0].vlan),
            Ok(Choice::Generation(usable)) => format!("generation {}: {}", usable.generation.number, usable.why),
            Err(problem) => format!("paused: {}: {}", problem.file, problem.message),
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

/// A part that stands by itself: a guest and all that it needs.
const WEB: &str = r#"
[trunk.eth2]

[segment.dmz]
trunk = "eth2"
vlan = 9

[pool.images]
path = "/srv/images"

[guest.web]
memory = "512 MiB"
disk.vda = { pool = "images", size = "1 GiB" }
nic.dmz = { address = ["10.13.37.41"] }

[[allow]]
from = "guest.web"
to = "outside.dmz"
tcp = 443
"#;

/// What is left of a file that was cut short or written over.
const DAMAGES: [&[u8]; 4] = [b"", b"\xff\x00\xfe", b"# sha256 of the lines below: 0\n", b"vlan = = 3\n"];

#[test]
fn a_boot_takes_up_the_files_and_a_restart_what_was_followed() {
    let ground = Ground::new("files");
    ground.write("host.toml", &text(4));
    assert_eq!(ground.choose(), "generation 3: ");
    ground.reboot();
    assert_eq!(ground.choose(), "files: VLAN 4");
}

#[test]
fn a_manifest_that_declares_nothing_removes_nothing_at_a_boot() {
    for manifest in ["", "# nothing\n", "[trunk.eth1]\n", "[trunk.eth1]\n[segment.lan]\ntrunk = \"et"] {
        let ground = Ground::new("nothing");
        ground.write("host.toml", manifest);
        assert_eq!(ground.choose(), "generation 3: ", "at a restart: {manifest}");
        ground.reboot();
        let said = ground.choose();
        assert!(said.starts_with("generation 3: the manifest cannot be applied:\n"), "{said}");
    }
}

#[test]
fn an_emptied_file_beside_whole_ones_removes_nothing_at_a_boot_and_is_named() {
    let web = "segment dmz, pool images, guest web, 1 allow";
    for (emptied, goes) in [("host.toml", "segment lan"), ("host.d/web.toml", web)] {
        for text in ["", "\n\n", "# lost\n"] {
            let ground = Ground::with_parts("emptied");
            ground.write(emptied, text);
            ground.reboot();
            let said = ground.choose();
            assert!(said.starts_with("generation 4: the manifest cannot be applied:\nerror: "), "{said}");
            assert!(
                said.contains(&format!("{emptied} declares nothing and no other file declares {goes}, ")),
                "{said}"
            );
        }
    }
}

#[test]
fn a_host_toml_that_is_gone_beside_whole_parts_removes_nothing_at_a_boot() {
    let ground = Ground::with_parts("absent");
    fs::remove_file(ground.root.join("etc/host.toml")).unwrap();
    ground.reboot();
    let said = ground.choose();
    assert!(said.starts_with("generation 4: ") && said.contains("host.toml: it does not exist"), "{said}");
}

#[test]
fn a_file_that_never_declared_anything_keeps_no_boot_from_the_others() {
    let ground = Ground::with_parts("comments");
    ground.write("host.d/notes.toml", "# see the others\n");
    ground.reboot();
    assert_eq!(ground.choose(), "files: VLAN 3");
    ground.write("host.toml", "# moved to host.d\n");
    ground.write("host.d/lan.toml", &text(5));
    assert_eq!(ground.choose(), "files: VLAN 5", "what moved to another file is not lost");
}

#[test]
fn what_an_emptied_file_declared_is_not_guessed_where_the_generation_is_lost_too() {
    let ground = Ground::with_parts("both");
    ground.write("host.d/web.toml", "");
    ground.reboot();
    ground.damage(4, b"");
    let said = ground.choose();
    assert!(
        said.starts_with("paused: ") && said.contains("web.toml: the file declares nothing, and what was"),
        "{said}"
    );
}

#[test]
fn a_damaged_generation_is_the_files_where_they_are_still_what_was_applied() {
    let ground = Ground::new("same");
    for bytes in DAMAGES {
        ground.damage(3, bytes);
        assert_eq!(ground.choose(), "files: VLAN 3");
    }
    fs::remove_file(ground.generations.file(3)).unwrap();
    assert_eq!(ground.choose(), "files: VLAN 3");
}

#[test]
fn a_damaged_generation_is_never_the_one_before_and_pauses_until_somebody_applies() {
    let ground = Ground::new("before");
    ground.write("host.toml", &text(4));
    let paused = || {
        let said = ground.choose();
        let file = ground.generations.file(3);
        assert!(said.starts_with(&format!("paused: {}: ", file.display())) && said.contains("damaged"), "{said}");
        assert!(said.contains("the host stays as it is") && said.ends_with("bulkhead apply applies them"), "{said}");
    };
    for bytes in DAMAGES {
        ground.damage(3, bytes);
        paused();
    }
    ground.write("host.toml", "");
    ground.reboot();
    paused();
    ground.write("host.toml", &text(4));
    assert_eq!(ground.choose(), "files: VLAN 4", "a boot needs no generation where there are files");
}

#[test]
fn a_generation_that_is_gone_is_not_the_one_before_at_a_boot_either() {
    let ground = Ground::new("gone");
    fs::remove_file(ground.generations.file(3)).unwrap();
    ground.write("host.toml", "");
    ground.reboot();
    assert!(ground.choose().starts_with("paused: "), "{}", ground.choose());
}

#[test]
fn a_damaged_generation_falls_back_to_another_one_with_the_same_text() {
    let ground = Ground::new("another");
    ground.apply(&text(2));
    ground.write("host.toml", "");
    ground.damage(4, b"");
    let falls_back = || {
        let said = ground.choose();
        assert!(said.starts_with("generation 2: ") && said.contains("damaged"), "{said}");
    };
    falls_back();
    ground.reboot();
    falls_back();
}

#[test]
fn what_was_torn_down_is_not_followed_by_the_next_boot_and_the_files_are() {
    for files in ["", "[trunk.eth1]\n[segment.lan]\ntrunk = \"et"] {
        let ground = Ground::new("torn");
        ground.generations.mark(None).unwrap();
        assert_eq!(ground.choose(), "nothing: None", "at a restart");
        ground.reboot();
        ground.write("host.toml", files);
        assert!(ground.choose().starts_with("nothing: Some("), "{}", ground.choose());
        fs::remove_file(ground.root.join("etc/host.toml")).unwrap();
        assert!(ground.choose().starts_with("nothing: Some("), "{}", ground.choose());
        ground.write("host.toml", &text(3));
        assert_eq!(ground.choose(), "files: VLAN 3");
    }
}

#[test]
fn a_note_that_cannot_be_understood_is_no_word_to_follow_anything() {
    let ground = Ground::new("note");
    ground.reboot();
    fs::write(ground.root.join("state/intent/generation"), "\0\0").unwrap();
    ground.write("host.toml", "");
    let said = ground.choose();
    assert!(said.starts_with("paused: ") && said.contains("intent/generation: it is damaged"), "{said}");
}

#[test]
fn the_newest_generation_of_an_earlier_version_is_the_last_one() {
    let ground = Ground::new("earlier");
    ground.reboot();
    fs::remove_dir_all(ground.root.join("state/intent")).unwrap();
    ground.write("host.toml", "");
    assert!(ground.choose().starts_with("generation 3: "));
    ground.damage(3, b"");
    assert!(ground.choose().starts_with("paused: "));
}

#[test]
fn a_generation_that_an_earlier_version_was_told_to_be_nothing_is_followed_as_nothing() {
    let ground = Ground::new("told");
    ground.apply("# nothing\n");
    ground.write("host.toml", "# nothing\n");
    assert!(ground.choose().starts_with("nothing: Some("), "at a restart");
    ground.reboot();
    assert!(ground.choose().starts_with("nothing: Some("), "at a boot");
}

#[test]
fn a_whole_generation_that_this_version_refuses_is_not_replaced_by_an_earlier_one() {
    let ground = Ground::new("refused");
    ground.apply("[trunk.eth1]\ncolour = 1\n");
    let said = ground.choose();
    assert!(said.starts_with("paused: ") && said.contains("generation 4 cannot be followed by this version"), "{said}");
}

#[test]
fn without_an_identity_the_host_stays_as_it_is() {
    let ground = Ground::new("identity");
    let id = || Err(HostId::from_file(Path::new("/nonexistent")).unwrap_err());
    let begins = "paused: /etc/machine-id: cannot take this host's identity from /etc/machine-id";
    let said = ground.choose_as(id());
    assert!(said.starts_with(begins) && said.ends_with("Write one: systemd-machine-id-setup"), "{said}");
    ground.reboot();
    assert!(ground.choose_as(id()).starts_with(begins));
    ground.generations.mark(None).unwrap();
    assert_eq!(ground.choose_as(id()), "nothing: None", "what was torn down needs none");
}

#[test]
fn a_first_boot_without_a_manifest_follows_nothing() {
    let ground = Ground::new("first");
    ground.reboot();
    fs::remove_dir_all(ground.root.join("state")).unwrap();
    fs::remove_file(ground.root.join("etc/host.toml")).unwrap();
    let said = ground.choose();
    assert!(said.starts_with("nothing: Some(") && said.contains("does not exist"), "{said}");
}

#[test]
fn only_the_files_that_a_boot_found_are_taken_up_later_and_others_wait_for_an_apply() {
    let ground = Ground::new("later");
    ground.reboot();
    ground.damage(3, b"");
    ground.write("host.toml", &text(4));
    for found in [None, Some(text(5))] {
        let said = ground.choose_again(found.as_deref());
        assert!(said.starts_with("paused: ") && said.contains("damaged"), "{said}");
    }
    assert_eq!(ground.choose_again(Some(&text(4))), "files: VLAN 4", "such as on a disk that was full");
    ground.write("host.toml", &text(3));
    assert_eq!(ground.choose_again(None), "files: VLAN 3", "the text that was followed last");
    ground.apply(&text(3));
    ground.reboot();
    ground.write("host.toml", &text(4));
    let said = ground.choose_again(None);
    assert!(said.starts_with("generation 4: the manifest was changed since this boot"), "{said}");
    fs::remove_dir_all(ground.root.join("state")).unwrap();
    let said = ground.choose_again(None);
    assert!(said.starts_with("paused: ") && said.contains("waits for `bulkhead apply`"), "{said}");
}

#[test]
fn a_generation_that_was_replaced_by_another_text_is_lost_however_whole_it_looks() {
    let ground = Ground::new("replaced");
    let sealed = fs::read_to_string(ground.generations.file(2)).unwrap();
    let whole = fs::read_to_string(ground.generations.file(3)).unwrap();
    for other in [sealed, text(9), whole.replacen("sha256", "sha257", 1), whole.replacen("# sha256", "\n", 1)] {
        ground.damage(3, other.as_bytes());
        ground.write("host.toml", &text(4));
        let said = ground.choose();
        assert!(said.starts_with("paused: ") && said.contains("generation 3 is damaged"), "{other}: {said}");
        ground.write("host.toml", &text(3));
        assert_eq!(ground.choose(), "files: VLAN 3", "{other}");
    }
    fs::write(ground.root.join("run/generation"), "3\n").unwrap();
    ground.damage(3, text(9).as_bytes());
    assert_eq!(ground.choose(), "generation 3: ", "an earlier version noted no checksum and wrote none");
}

#[test]
fn a_note_that_was_cut_short_names_no_earlier_generation() {
    let ground = Ground::new("cut");
    for vlan in 4..=12 {
        ground.apply(&text(vlan));
    }
    let note = fs::read_to_string(ground.root.join("run/generation")).unwrap();
    assert!(note.starts_with("12 "), "{note}");
    for end in 0..note.len() {
        fs::write(ground.root.join("run/generation"), &note[..end]).unwrap();
        let said = ground.choose();
        assert!(said.starts_with("paused: ") && said.contains("run/generation: it is damaged"), "{end}: {said}");
    }
}
