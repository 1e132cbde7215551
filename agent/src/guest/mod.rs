//! The life of domains, pools and networks: observed, planned and applied through libvirt, which is called here and
//! nowhere else.

pub mod model;
