//! What is written is valid by libvirt's own RELAX NG schemas, which libvirtd itself reads for `--validate`.

use bulkhead::guest::Step;
use bulkhead::guest::model::Format;

use crate::world::*;

#[tokio::test]
async fn every_definition_that_is_written_is_valid_by_libvirts_own_schema() {
    let mut world = World::open().await;
    let mut guest = guest("t-valid");
    guest.disks.push(disk("t-valid", "vdb", Format::Qcow2));
    let desired = desired(guest);
    world.prepare(&desired).await;
    let mut validated = 0;
    for step in world.plan(&desired).await.steps {
        let validate = match &step {
            Step::DefinePool { xml, .. } => Some(("pool-define --validate".to_owned(), xml)),
            Step::CreateVolume { xml, .. } => Some((format!("vol-create --validate --pool {POOL}"), xml)),
            Step::DefineNetwork { xml, .. } => Some(("net-define --validate".to_owned(), xml)),
            Step::DefineDomain { xml, .. } => Some(("define --validate".to_owned(), xml)),
            _ => None,
        };
        match validate {
            Some((line, xml)) => {
                // An element that libvirt would otherwise ignore in silence shows that the schema was asked.
                let bad = xml.replacen("<name>", "<nonsense/><name>", 1);
                let refused = String::from_utf8(virsh_file(&line, &bad).stderr).unwrap();
                assert!(refused.contains("failed to validate against schema"), "{line}: {refused}");
                define(&line, xml);
                validated += 1;
            }
            None => world.apply(&bulkhead::guest::Plan { steps: vec![step], notices: Vec::new() }).await,
        }
    }
    assert_eq!(validated, 5);
    assert_eq!(world.settle(&desired).await.0, []);
    // The same with the identity of what it replaces.
    virsh("setmaxmem t-valid 262144 --config");
    let plan = world.plan(&desired).await;
    let [Step::DefineDomain { xml, .. }] = &plan.steps[..] else { panic!("{:?}", plan.steps) };
    define("define --validate", xml);
    assert_eq!(world.settle(&desired).await.0, []);
}
