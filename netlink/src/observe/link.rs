//! Links, as `RTM_NEWLINK` tells of them.

use netlink_packet_core::DecodeError;
use netlink_packet_route::link::{LinkFlags, LinkHeader};

use super::attributes::{Attributes, station, text};
use crate::model::{BridgeOptions, Kind, LEAVING_GROUP, LINK_GROUP, Link, PortFlags, Unread};

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;
/// `IFLA_*` of `include/uapi/linux/if_link.h`.
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const PARENT: u16 = 5;
const MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const ALIAS: u16 = 20;
const AF_SPEC: u16 = 26;
const GROUP: u16 = 27;
const PARENT_NETNS: u16 = 37;
const PROPERTIES: u16 = 52;
const ALTNAME: u16 = 53;
/// `IFLA_INFO_*`, within `IFLA_LINKINFO`.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
/// `IFLA_BR_*`, within the data of a bridge.
const BRIDGE_STP: u16 = 5;
const BRIDGE_VLAN_FILTERING: u16 = 7;
const BRIDGE_GROUP_FWD_MASK: u16 = 9;
const BRIDGE_MCAST_SNOOPING: u16 = 23;
const BRIDGE_MULTI_BOOLOPT: u16 = 46;
/// `BR_BOOLOPT_NO_LL_LEARN`, within the values and within the mask of `struct br_boolopt_multi`.
const NO_LINKLOCAL_LEARN: u32 = 1;
/// `IFLA_VLAN_*`, within the data of a VLAN link.
const VLAN_ID: u16 = 1;
const VLAN_PROTOCOL: u16 = 5;
/// `ETH_P_8021Q`.
const DOT1Q: u16 = 0x8100;
/// `IFLA_BRPORT_*`, within the data of a bridge's port.
const PORT_HAIRPIN: u16 = 4;
const PORT_LEARNING: u16 = 8;
const PORT_FLOOD: u16 = 9;
const PORT_MCAST_FLOOD: u16 = 27;
const PORT_BCAST_FLOOD: u16 = 30;
const PORT_ISOLATED: u16 = 33;
const PORT_LOCKED: u16 = 39;
/// `AF_INET6`, within `IFLA_AF_SPEC`, and `IFLA_INET6_CONF` within that: an array of numbers, of which `DEVCONF_DISABLE_IPV6`
/// (`include/uapi/linux/ipv6.h`) is wanted.
const INET6: u16 = 10;
const INET6_CONF: u16 = 2;
const DISABLE_IPV6: usize = 26;

/// A message of a link dump. Whatever is strange about it, the link is there, with what could be read of it.
///
/// # Errors
/// [`Unread`] if not even the index can be read.
pub(super) fn link(bytes: &[u8]) -> Result<Link, Unread> {
    let header = LinkHeader::parse(bytes).map_err(|error| Unread::new("link", None, &error))?;
    let attributes = Attributes::read(bytes.get(HEADER..).unwrap_or_default());
    let mut link = Link {
        index: header.index,
        name: attributes.get(NAME).map(text).unwrap_or_default(),
        altnames: attributes.nested(PROPERTIES).all(ALTNAME).map(text).collect(),
        alias: attributes.get(ALIAS).map(text),
        up: header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    link.unread = fill(&mut link, &attributes).err().map(|error| error.to_string());
    Ok(link)
}

/// Stops at the first attribute that cannot be read.
fn fill(link: &mut Link, attributes: &Attributes<'_>) -> Result<(), DecodeError> {
    link.mac = attributes.get(ADDRESS).and_then(station);
    link.group = attributes.u32(GROUP)?.unwrap_or(0);
    link.mtu = attributes.u32(MTU)?.unwrap_or(0);
    link.master = attributes.u32(MASTER)?.filter(|index| *index != 0);
    link.ipv6 = ipv6(attributes);
    let parent = attributes.u32(PARENT)?.filter(|_| attributes.get(PARENT_NETNS).is_none());
    let info = attributes.nested(LINK_INFO);
    match kind(&info, parent).and_then(|kind| Ok((kind, port_flags(&info)?))) {
        Ok((kind, port)) => (link.kind, link.port) = (kind, port),
        Err(error) => {
            // A foreign link needs to be known by the name of its kind alone.
            link.kind = Kind::Other(info.get(INFO_KIND).map(text).unwrap_or_default());
            if matches!(link.group, LINK_GROUP | LEAVING_GROUP) {
                return Err(error);
            }
        }
    }
    attributes.whole()
}

fn kind(info: &Attributes<'_>, parent: Option<u32>) -> Result<Kind, DecodeError> {
    info.whole()?;
    let (name, data) = (info.get(INFO_KIND).map(text).unwrap_or_default(), info.nested(INFO_DATA));
    Ok(match name.as_str() {
        "bridge" => {
            data.whole()?;
            // A kernel that was built without an option does not name it.
            Kind::Bridge(BridgeOptions {
                stp: data.u32(BRIDGE_STP)?.unwrap_or(0) != 0,
                mcast_snooping: data.switch(BRIDGE_MCAST_SNOOPING)?.unwrap_or(false),
                vlan_filtering: data.switch(BRIDGE_VLAN_FILTERING)?.unwrap_or(false),
                group_fwd_mask: data.u16(BRIDGE_GROUP_FWD_MASK)?.unwrap_or(0),
                no_linklocal_learn: no_linklocal_learn(&data)?,
            })
        }
        "vlan" => {
            data.whole()?;
            let id = data.u16(VLAN_ID)?.ok_or("a VLAN link without a tag")?;
            let protocol = data.array(VLAN_PROTOCOL)?.map(u16::from_be_bytes);
            Kind::Vlan { id, parent, dot1q: protocol.is_none_or(|protocol| protocol == DOT1Q) }
        }
        _ => Kind::Other(name),
    })
}

/// `None` where the kernel does not know the option.
fn no_linklocal_learn(bridge: &Attributes<'_>) -> Result<Option<bool>, DecodeError> {
    let Some([a, b, c, d, mask @ ..]) = bridge.array::<8>(BRIDGE_MULTI_BOOLOPT)? else { return Ok(None) };
    let (values, mask) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes(mask));
    Ok((mask & NO_LINKLOCAL_LEARN != 0).then_some(values & NO_LINKLOCAL_LEARN != 0))
}

fn port_flags(info: &Attributes<'_>) -> Result<Option<PortFlags>, DecodeError> {
    if info.get(INFO_PORT_KIND).map(text).as_deref() != Some("bridge") {
        return Ok(None);
    }
    let data = info.nested(INFO_PORT_DATA);
    data.whole()?;
    let flag = |kind, default| data.switch(kind).map(|found| found.unwrap_or(default));
    let default = PortFlags::new(false);
    Ok(Some(PortFlags {
        learning: flag(PORT_LEARNING, default.learning)?,
        flood: flag(PORT_FLOOD, default.flood)?,
        mcast_flood: flag(PORT_MCAST_FLOOD, default.mcast_flood)?,
        bcast_flood: flag(PORT_BCAST_FLOOD, default.bcast_flood)?,
        locked: data.switch(PORT_LOCKED)?,
        isolated: flag(PORT_ISOLATED, default.isolated)?,
        hairpin: flag(PORT_HAIRPIN, default.hairpin)?,
    }))
}

/// Whether IPv6 may speak on the link; `None` where the link has no IPv6.
fn ipv6(attributes: &Attributes<'_>) -> Option<bool> {
    let (numbers, _) = attributes.nested(AF_SPEC).nested(INET6).get(INET6_CONF)?.as_chunks();
    numbers.get(DISABLE_IPV6).map(|number| i32::from_ne_bytes(*number) == 0)
}

#[cfg(test)]
mod tests {
    use super::super::attributes::tests::bytes;
    use super::*;
    use crate::model::FORWARDED_GROUPS;

    /// `struct ifinfomsg` of link 7, which is up, and attributes.
    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; 4];
        message.extend(7_u32.to_ne_bytes());
        message.extend(1_u32.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(bytes(attributes));
        message
    }

    fn read(attributes: &[(u16, &[u8])]) -> Link {
        link(&message(attributes)).unwrap()
    }

    #[test]
    fn a_link_whose_name_is_not_utf_8_is_read_like_any_other() {
        let odd = read(&[(NAME, b"sec\xff\xfe\0"), (MTU, &1500_u32.to_ne_bytes())]);
        assert_eq!((odd.index, odd.name.as_str(), odd.mtu, odd.up), (7, "sec\u{fffd}\u{fffd}", 1500, true));
        assert_eq!(odd.unread, None);
    }

    #[test]
    fn alternative_names_and_the_alias_are_read_and_may_be_anything() {
        let names = bytes(&[(ALTNAME, b"enp3s0\0"), (ALTNAME, b"odd\xff\0"), (999, b"x")]);
        let found = read(&[(NAME, b"eth0\0"), (0x8000 | PROPERTIES, &names), (ALIAS, b"bulkhead: trunk eth0\xff")]);
        assert_eq!(found.altnames, ["enp3s0", "odd\u{fffd}"]);
        assert_eq!((found.alias.as_deref(), found.unread), (Some("bulkhead: trunk eth0\u{fffd}"), None));
    }

    #[test]
    fn an_attribute_that_nobody_needs_may_be_anything() {
        for (kind, value) in [(ALIAS, &b"\xff\xff"[..]), (PROPERTIES, &[9, 0, 53, 0, 0xff]), (999, &[]), (7, &[1])] {
            let found = read(&[(NAME, b"eth0\0"), (kind, value)]);
            assert_eq!((found.name.as_str(), found.unread), ("eth0", None), "{kind}");
        }
    }

    #[test]
    fn of_a_foreign_link_the_kind_may_be_unreadable_and_of_ours_that_is_said() {
        let torn = [&bytes(&[(INFO_KIND, b"bridge\0")])[..], &bytes(&[(INFO_DATA, &[9, 0, 5])])].concat();
        let foreign = read(&[(LINK_INFO, &torn)]);
        assert_eq!((foreign.kind, foreign.unread), (Kind::Other("bridge".to_owned()), None));
        let ours = read(&[(NAME, b"br20\0"), (GROUP, &LINK_GROUP.to_ne_bytes()), (LINK_INFO, &torn)]);
        assert!(ours.unread.is_some() && ours.own().is_none(), "{ours:?}");
    }

    #[test]
    fn what_a_bridge_learns_from_link_local_groups_is_read_where_the_kernel_knows_it() {
        let multi = |values: u32, mask: u32| [values.to_ne_bytes(), mask.to_ne_bytes()].concat();
        for (multi, learns) in [(multi(1, 7), Some(true)), (multi(6, 7), Some(false)), (multi(6, 6), None)] {
            let data =
                bytes(&[(BRIDGE_GROUP_FWD_MASK, &FORWARDED_GROUPS.to_ne_bytes()), (BRIDGE_MULTI_BOOLOPT, &multi)]);
            let found = read(&[(LINK_INFO, &bytes(&[(INFO_KIND, b"bridge\0"), (INFO_DATA, &data)]))]);
            let Kind::Bridge(options) = found.kind else { panic!("{found:?}") };
            assert_eq!((options.no_linklocal_learn, options.are_ours()), (learns, learns != Some(false)));
        }
    }

    #[test]
    fn a_vlan_link_of_ours_without_a_tag_is_not_taken_for_one_with_another() {
        let info = bytes(&[(INFO_KIND, b"vlan\0"), (INFO_DATA, &[])]);
        let ours = read(&[(NAME, b"vlan20\0"), (GROUP, &LINK_GROUP.to_ne_bytes()), (LINK_INFO, &info)]);
        assert!(ours.unread.is_some() && ours.own().is_none(), "{ours:?}");
    }

    #[test]
    fn a_number_of_the_wrong_length_is_said_and_the_link_stays() {
        let found = read(&[(NAME, b"eth0\0"), (MTU, &[1, 2])]);
        assert_eq!((found.index, found.name.as_str()), (7, "eth0"));
        assert!(found.unread.is_some_and(|why| why.contains("attribute 4 has 2 bytes")));
    }

    #[test]
    fn a_message_without_a_whole_header_is_one_link_unread() {
        assert_eq!(link(&[0; 15]).unwrap_err().index, None);
    }
}
