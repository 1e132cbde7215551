//! What a rule looks at, by the names that nft has for it.

use std::fmt;

/// What the kernel knows of a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    /// The link that it came by.
    Iifname,
    /// The link that it leaves by.
    Oifname,
    /// The bridge of the port that it came by.
    Ibrname,
    /// The bridge of the port that it leaves by.
    Obrname,
    /// Whether it is for this host, for another, or for many.
    Pkttype,
    /// The protocol above IP.
    L4proto,
}

/// What conntrack knows of a packet's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ct {
    State,
    Direction,
    /// The protocol of the flow, which for an error about it is not the packet's own.
    Protocol,
    Zone,
}

/// What the packet that opened the flow had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Original {
    Saddr(IpVersion),
    Daddr(IpVersion),
    ProtoDst,
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpVersion {
    V4,
    V6,
}

/// A protocol above IP that rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Icmp,
    Igmp,
    Tcp,
    Udp,
    Icmpv6,
}

/// The headers that rules look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Ether,
    Arp,
    Ip,
    Ip6,
    Icmp,
    Icmpv6,
    Igmp,
    Udp,
}

/// Something that a packet, or its flow, has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Meta(Meta),
    /// A field of a header, by nft's name, which nft refuses where it knows none such.
    Payload(Header, &'static str),
    Ct(Ct),
    Original(Original),
    /// The fragment header of IPv6, which is there or not.
    Fragment,
    /// So many bits after so many from the beginning of the header above IP, for what nft has no name.
    Transport(u32, u32),
}

/// Of the field of IPv4's header with the offset: that more follow, and the offset.
pub(crate) const FRAGMENT_BITS: u32 = 0x3fff;
/// The target of a neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4), which nft 1.0.6 has no name for.
pub(crate) const ND_TARGET: Field = Field::Transport(64, 128);
/// What a message of DHCP begins with behind the header of UDP: `op`, `htype` and `hlen` (RFC 2131, 2).
pub(crate) const DHCP_KIND: Field = Field::Transport(64, 24);
/// The hardware address of the client in a message of DHCP, where `hlen` is 6.
pub(crate) const DHCP_CHADDR: Field = Field::Transport(288, 48);
/// The cookie before the options of a message of DHCP.
pub(crate) const DHCP_COOKIE: Field = Field::Transport(1952, 32);

pub(crate) const IIFNAME: Field = Field::Meta(Meta::Iifname);
pub(crate) const OIFNAME: Field = Field::Meta(Meta::Oifname);
pub(crate) const IBRNAME: Field = Field::Meta(Meta::Ibrname);
pub(crate) const OBRNAME: Field = Field::Meta(Meta::Obrname);
pub(crate) const PKTTYPE: Field = Field::Meta(Meta::Pkttype);
pub(crate) const L4PROTO: Field = Field::Meta(Meta::L4proto);
/// Never `meta protocol`: that looks through a VLAN tag.
pub(crate) const ETHER_TYPE: Field = Field::Payload(Header::Ether, "type");
pub(crate) const ETHER_SADDR: Field = Field::Payload(Header::Ether, "saddr");
pub(crate) const ETHER_DADDR: Field = Field::Payload(Header::Ether, "daddr");
pub(crate) const ARP_SADDR_ETHER: Field = Field::Payload(Header::Arp, "saddr ether");
pub(crate) const ARP_SADDR_IP: Field = Field::Payload(Header::Arp, "saddr ip");
pub(crate) const ARP_OPERATION: Field = Field::Payload(Header::Arp, "operation");
pub(crate) const ARP_DADDR_IP: Field = Field::Payload(Header::Arp, "daddr ip");
pub(crate) const IP_SADDR: Field = Field::Payload(Header::Ip, "saddr");
pub(crate) const IP_DADDR: Field = Field::Payload(Header::Ip, "daddr");
pub(crate) const IP6_SADDR: Field = Field::Payload(Header::Ip6, "saddr");
pub(crate) const IP6_DADDR: Field = Field::Payload(Header::Ip6, "daddr");
pub(crate) const HOP_LIMIT: Field = Field::Payload(Header::Ip6, "hoplimit");
pub(crate) const TTL: Field = Field::Payload(Header::Ip, "ttl");
pub(crate) const IGMP_TYPE: Field = Field::Payload(Header::Igmp, "type");
pub(crate) const UDP_DPORT: Field = Field::Payload(Header::Udp, "dport");
pub(crate) const ICMP_TYPE: Field = Field::Payload(Header::Icmp, "type");
pub(crate) const ICMPV6_TYPE: Field = Field::Payload(Header::Icmpv6, "type");

impl Meta {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Iifname => "iifname",
            Self::Oifname => "oifname",
            Self::Ibrname => "ibrname",
            Self::Obrname => "obrname",
            Self::Pkttype => "pkttype",
            Self::L4proto => "l4proto",
        }
    }
}

impl Ct {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Direction => "direction",
            Self::Protocol => "protocol",
            Self::Zone => "zone",
        }
    }
}

impl Original {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Saddr(IpVersion::V4) => "ip saddr",
            Self::Saddr(IpVersion::V6) => "ip6 saddr",
            Self::Daddr(IpVersion::V4) => "ip daddr",
            Self::Daddr(IpVersion::V6) => "ip6 daddr",
            Self::ProtoDst => "proto-dst",
        }
    }
}

impl IpVersion {
    /// Its header.
    pub(crate) const fn header(self) -> Header {
        match self {
            Self::V4 => Header::Ip,
            Self::V6 => Header::Ip6,
        }
    }

    /// The protocol that carries errors about its packets.
    pub(crate) const fn icmp(self) -> Protocol {
        match self {
            Self::V4 => Protocol::Icmp,
            Self::V6 => Protocol::Icmpv6,
        }
    }
}

impl Protocol {
    /// `IPPROTO_ICMP` and so on.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Icmp => 1,
            Self::Igmp => 2,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmpv6 => 58,
        }
    }
}

impl Header {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ether => "ether",
            Self::Arp => "arp",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Igmp => "igmp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta(key @ (Meta::Iifname | Meta::Oifname)) => f.write_str(key.as_str()),
            Self::Meta(key) => write!(f, "meta {}", key.as_str()),
            Self::Payload(header, field) => write!(f, "{} {field}", header.as_str()),
            Self::Ct(key) => write!(f, "ct {}", key.as_str()),
            Self::Original(key) => write!(f, "ct original {}", key.as_str()),
            Self::Fragment => f.write_str("exthdr frag"),
            Self::Transport(offset, len) => write!(f, "@th,{offset},{len}"),
        }
    }
}
