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
            Step::DefinePool { xml, .. } => Some(("pool-define --validate".to_owned(), xml.clone())),
            Step::CreateVolume { xml, .. } => Some((format!("vol-create --validate --pool {POOL}"), xml.clone())),
            Step::DefineNetwork { xml, .. } => Some(("net-define --validate".to_owned(), xml.clone())),
            Step::DefineDomain { .. } => {
                Some(("define --validate".to_owned(), step.domain_xml(None).unwrap().unwrap()))
            }
            _ => None,
        };
        match validate {
            Some((line, xml)) => {
                // An element that libvirt would otherwise ignore in silence shows that the schema was asked.
                let bad = xml.replacen("<name>", "<nonsense/><name>", 1);
                let refused = String::from_utf8(virsh_file(&line, &bad).stderr).unwrap();
                assert!(refused.contains("failed to validate against schema"), "{line}: {refused}");
                define(&line, &xml);
                validated += 1;
            }
            None => world.apply(&bulkhead::guest::Plan { steps: vec![step], notices: Vec::new() }).await,
        }
    }
    assert_eq!(validated, 5);
    assert_eq!(world.settle(&desired).await.0, []);
    // The same edit on what libvirt made of it.
    virsh("setmaxmem t-valid 262144 --config");
    let plan = world.plan(&desired).await;
    let current = virsh("dumpxml --inactive --security-info t-valid");
    let [step @ Step::DefineDomain { .. }] = &plan.steps[..] else { panic!("{:?}", plan.steps) };
    define("define --validate", &step.domain_xml(Some(&current)).unwrap().unwrap());
    assert_eq!(world.settle(&desired).await.0, []);
}
