//! What people and disks lose: the manifest's text, a generation's, the host's identity. Nothing that was made goes with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bulkhead_api::Status;

use super::daemon::{self, UNIT};
use super::{Case, SEED};
use crate::inside::{Lab, MANIFEST};
use crate::suite::Suite;

/// Case 16.
pub(super) const NOTHING_GOES: Case = Case {
    number: 16,
    name: "an emptied file, a FIFO, a damaged generation, a lost machine-id: nothing goes, and status says what to do",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: nothing_goes,
};

const GENERATIONS: &str = "/var/lib/bulkhead/generations";
/// What this boot follows; without it the daemon starts as after a boot.
const MARKER: &str = "/run/bulkhead/generation";
const FIFO: &str = "/etc/bulkhead/host.d/50-fifo.toml";
const PART: &str = "/etc/bulkhead/host.d/60-part.toml";
const IDENTITY: &str = "/etc/machine-id";
const DEADLINE: Duration = Duration::from_secs(60);

fn nothing_goes(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    let before = made(lab)?;
    let ended = emptied(lab)
        .and_then(|()| emptied_beside_a_part(lab))
        .and_then(|()| fifo(lab))
        .and_then(|()| nameless(lab))
        .and_then(|()| damaged(lab));
    let after = made(lab);
    lab.apply_seed()?;
    daemon::settled(lab)?;
    ended?;
    let after = after?;
    if before == after { Ok(()) } else { Err(format!("there was\n{before}and there is\n{after}")) }
}

/// The bridges of the seed with their indices, and the guest's QEMU.
fn made(lab: &Lab) -> Result<String, String> {
    let qemu = daemon::qemu("example")?;
    let links = lab.run("ip -o link show type bridge")?;
    let seeds = links.lines().filter_map(|line| line.split(" <").next()).filter(|line| !line.contains("br40"));
    Ok(format!("QEMU {qemu}\n{}\n", seeds.collect::<Vec<_>>().join("\n")))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{path}: {error}"))
}

fn remove(path: &str) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| format!("{path}: {error}"))
}

fn restart(lab: &Lab) -> Result<(), String> {
    lab.run(&format!("systemctl restart {UNIT}")).map(drop)
}

/// The daemon starts as after a boot.
fn boot(lab: &Lab) -> Result<(), String> {
    remove(MARKER)?;
    restart(lab)
}

/// The status once its manifest's errors say this.
fn says(lab: &Lab, words: &str) -> Result<Status, String> {
    let (status, _) = lab.wait(&format!("status to say {words:?}"), DEADLINE, || {
        let status = lab.status()?;
        let said = status.manifest.errors.iter().any(|error| error.message.contains(words));
        if said { Ok(status) } else { Err(format!("{:?}", status.manifest)) }
    })?;
    Ok(status)
}

/// `bulkhead apply` is refused with these words.
fn refused(lab: &Lab, words: &[&str]) -> Result<(), String> {
    let apply = lab.attempt(&["bulkhead", "apply"], DEADLINE)?;
    // The text is wrapped at the terminal's width.
    let said = apply.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.iter().find(|words| !said.contains(**words)) {
        None if !apply.success => Ok(()),
        _ => Err(format!("bulkhead apply ended with {}, and was to say {words:?}: {said}", apply.status)),
    }
}

fn emptied(lab: &Lab) -> Result<(), String> {
    lab.at("an emptied manifest");
    write(MANIFEST, "")?;
    refused(lab, &["segment lan, dmz", "guest example, 1 allow would go", "bulkhead teardown"])?;
    boot(lab)?;
    let status = says(lab, "declares nothing")?;
    if status.manifest.generation.is_none() {
        return Err(format!("nothing is followed: {:?}", status.manifest));
    }
    Ok(())
}

/// `host.toml` declares nothing any more, and a part that stands by itself does.
fn emptied_beside_a_part(lab: &Lab) -> Result<(), String> {
    lab.at("an emptied host.toml beside a whole part");
    write(MANIFEST, "# lost\n")?;
    write(PART, "[trunk.eth1]\n\n[segment.part]\ntrunk = \"eth1\"\nvlan = 40\n")?;
    let ended = refused(lab, &[MANIFEST, "declares nothing and no other file declares segment lan, dmz"])
        .and_then(|()| boot(lab))
        .and_then(|()| says(lab, "guest example, 1 allow, which would go"))
        .and_then(|_| daemon::running(lab, "example"));
    remove(PART)?;
    ended.map(drop)
}

/// `check` and the daemon say what it is, and repairs go on.
fn fifo(lab: &Lab) -> Result<(), String> {
    lab.at("a FIFO among the files");
    lab.run(&format!("mkfifo {FIFO}"))?;
    let check = lab.attempt(&["bulkhead", "check"], DEADLINE);
    let said = says(lab, "it is a FIFO");
    let gone = lab.run("ip link delete vlan30");
    let back = lab.wait("vlan30 to be made again", DEADLINE, || lab.run("ip link show vlan30").map(drop));
    remove(FIFO)?;
    let check = check?;
    said.and(gone)?;
    back?;
    if check.stdout.contains("it is a FIFO") { Ok(()) } else { Err(format!("bulkhead check: {}", check.stdout)) }
}

/// The daemon serves without it, and goes on by itself once it is there again.
fn nameless(lab: &Lab) -> Result<(), String> {
    lab.at("a lost machine-id");
    let id = fs::read_to_string(IDENTITY).map_err(|error| format!("{IDENTITY}: {error}"))?;
    remove(IDENTITY)?;
    let lost = restart(lab).and_then(|()| says(lab, "systemd-machine-id-setup"));
    write(IDENTITY, &id)?;
    if lost?.ready {
        return Err("it is ready without knowing its host".to_owned());
    }
    // The next look tries again, and a change of the manifest's files is one.
    lab.apply_seed().map(drop)
}

/// The newest generation is cut or written over while the files have changed: what only it declared stays, and nothing that it
/// forbids is allowed by the one before.
fn damaged(lab: &Lab) -> Result<(), String> {
    lab.at("a damaged generation");
    let seed = fs::read_to_string(MANIFEST).map_err(|error| format!("{MANIFEST}: {error}"))?;
    lab.apply(&format!("{seed}\n[segment.part]\ntrunk = \"eth1\"\nvlan = 40\n"))?;
    let number = lab.status()?.manifest.generation.ok_or("no generation is followed")?;
    let stands = || {
        let ruleset = lab.run("nft --stateless --terse list table bridge bulkhead")?;
        // Its first two lines say who holds the table, which a daemon that follows nothing does not.
        let rules = ruleset.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
        Ok::<_, String>((lab.run("ip -o link show br40")?, rules))
    };
    let before = stands()?;
    write(MANIFEST, &format!("{seed}# and once more\n"))?;
    let file = Path::new(GENERATIONS).join(format!("{number}.toml"));
    fs::write(&file, b"\xff\xfe\x00").map_err(|error| format!("{}: {error}", file.display()))?;
    restart(lab)?;
    let status = says(lab, "it is damaged: its bytes are not UTF-8")?;
    if status.ready || status.manifest.generation.is_some() {
        return Err(format!("after generation {number} was lost: ready {}, {:?}", status.ready, status.manifest));
    }
    let after = stands()?;
    if before != after {
        return Err(format!("there was {before:?}, and there is {after:?}"));
    }
    // As status says, `bulkhead apply` ends it.
    lab.apply_seed().map(drop)
}

/// After a teardown a boot without the files makes nothing of the last generation.
pub(super) fn stays_torn_down(lab: &Lab) -> Result<(), String> {
    remove(MANIFEST)?;
    boot(lab)?;
    let manifest = lab.status()?.manifest;
    if manifest.generation.is_some() { Err(format!("what was torn down is followed: {manifest:?}")) } else { Ok(()) }
}
