//! The network: this process and the world outside on one bridge, a network namespace for each gateway pod.

use std::{fs, net::Ipv4Addr};

use crate::{common::Failure, shell::sh};

/// Control plane, and the services behind the gateways.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Genesys Cloud's API and login hosts, its lists, the registry.
pub const GENESYS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 11);
pub const CRL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 13);
pub const REGISTRY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 14);
/// Pods: the network namespace, and its address.
pub const PODS: [(&str, Ipv4Addr); 4] = [
    ("own", Ipv4Addr::new(10, 99, 0, 2)),
    ("shared", Ipv4Addr::new(10, 99, 0, 3)),
    ("api", Ipv4Addr::new(10, 99, 0, 4)),
    ("more", Ipv4Addr::new(10, 99, 0, 5)),
];

pub const HOSTS: [(&str, Ipv4Addr); 7] = [
    ("istiod.istio-system.svc", HERE),
    ("api.mypurecloud.com", GENESYS),
    ("login.mypurecloud.com", GENESYS),
    ("api.mypurecloud.de", GENESYS),
    ("login.mypurecloud.de", GENESYS),
    ("crl.example", CRL),
    ("registry.example", REGISTRY),
];

pub fn pod(name: &str) -> Ipv4Addr {
    PODS.iter().find(|(pod, _)| *pod == name).map(|(_, address)| *address).expect("a pod of the network")
}

pub fn build() -> Result<(), Failure> {
    // Names of namespaces are mounts: kept to this process.
    fs::create_dir_all("/run/netns")?;
    sh("mount", "-t tmpfs tmpfs /run/netns")?;
    sh("ip", "link set lo up")?;
    sh("ip", "link add mesh0 type bridge")?;
    sh("ip", &format!("addr add {HERE}/24 dev mesh0"))?;
    for address in [GENESYS, CRL, REGISTRY] {
        sh("ip", &format!("addr add {address}/32 dev mesh0"))?;
    }
    sh("ip", "link set mesh0 up")?;
    for (name, address) in PODS {
        sh("ip", &format!("netns add {name}"))?;
        sh("ip", &format!("link add v-{name} type veth peer name eth0 netns {name}"))?;
        sh("ip", &format!("link set v-{name} master mesh0 up"))?;
        sh("ip", &format!("-n {name} addr add {address}/24 dev eth0"))?;
        sh("ip", &format!("-n {name} link set eth0 up"))?;
        sh("ip", &format!("-n {name} link set lo up"))?;
        sh("ip", &format!("-n {name} route add default via {HERE}"))?;
    }
    Ok(())
}
