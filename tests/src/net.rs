//! Machines with a link of their own to the coordinator: network namespaces joined by veth pairs where the system
//! permits it (root, iproute2), else loopback with a proxy in front of each. May import std and this crate.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::chaos::{Mode, Proxy};
use crate::notice::not_tested;
use crate::process::command;

/// The coordinator's port in its namespace, where nothing else is.
const PORT: u16 = 7777;

/// A machine of the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The one of the coordinator.
    Hub,
    /// One that has a link to it, by its number.
    Node(usize),
}

/// A coordinator's machine and others, each with a link to it that can be cut.
#[derive(Debug)]
pub enum Net {
    /// Each in a network namespace. Nothing in them reaches the machine that runs the tests, or is reached from it.
    Namespaces(Namespaces),
    /// Everything on loopback.
    Loopback {
        /// Where the coordinator is to listen.
        hub: SocketAddr,
        /// One in front of it for each node.
        proxies: Vec<Proxy>,
    },
}

impl Net {
    /// Makes a net of so many nodes. On loopback it says why, and expects the coordinator at `hub`.
    ///
    /// # Errors
    /// No port of loopback is free.
    pub async fn new(nodes: usize, hub: SocketAddr) -> Result<Self> {
        match Namespaces::new(nodes) {
            Ok(namespaces) => Ok(Self::Namespaces(namespaces)),
            Err(error) => {
                let why = format!("{error:#}; loopback and proxies instead");
                not_tested("a cluster in network namespaces", &why);
                let mut proxies = Vec::new();
                for _ in 0..nodes {
                    proxies.push(Proxy::start(hub).await?);
                }
                Ok(Self::Loopback { hub, proxies })
            }
        }
    }

    /// Where the coordinator listens.
    #[must_use]
    pub fn listen(&self) -> String {
        match self {
            // On all of its addresses: one for each link.
            Self::Namespaces(_) => format!("0.0.0.0:{PORT}"),
            Self::Loopback { hub, .. } => hub.to_string(),
        }
    }

    /// By which address a machine calls the coordinator.
    #[must_use]
    pub fn address(&self, from: Machine) -> String {
        match (self, from) {
            (Self::Namespaces(_), Machine::Hub) => format!("127.0.0.1:{PORT}"),
            (Self::Namespaces(_), Machine::Node(node)) => format!("{}:{PORT}", hub_address(node)),
            (Self::Loopback { hub, .. }, Machine::Hub) => hub.to_string(),
            (Self::Loopback { proxies, .. }, Machine::Node(node)) => {
                proxies[node].address().to_string()
            }
        }
    }

    /// A command, on a machine.
    #[must_use]
    pub fn on(&self, machine: Machine, inner: &Command) -> Command {
        let mut outer = match self {
            Self::Namespaces(namespaces) => {
                // It becomes the program: signals and the process id are the program's own.
                let mut outer = command("ip");
                outer.args(["netns", "exec", &namespaces.name(machine)]);
                outer.arg(inner.get_program());
                outer
            }
            Self::Loopback { .. } => command(inner.get_program()),
        };
        outer.args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        outer
    }

    /// Cuts a node's link: what is sent is lost, and nobody is told.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn cut(&self, node: usize) -> Result<()> {
        self.set_link(node, "down", Mode::Hold)
    }

    /// Mends it.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn mend(&self, node: usize) -> Result<()> {
        self.set_link(node, "up", Mode::Pass)
    }

    fn set_link(&self, node: usize, state: &str, mode: Mode) -> Result<()> {
        match self {
            Self::Namespaces(namespaces) => {
                let hub = namespaces.name(Machine::Hub);
                ip(&["-n", &hub, "link", "set", &link(node), state])
            }
            Self::Loopback { proxies, .. } => {
                proxies[node].set(mode);
                Ok(())
            }
        }
    }
}

/// Network namespaces of one test; removed when dropped. What still runs in one keeps it, without its name.
#[derive(Debug)]
pub struct Namespaces {
    /// What all names begin with: holds the process id, so that tests that run at one time, and what a killed one
    /// has left, do not meet.
    prefix: String,
    nodes: usize,
}

impl Namespaces {
    /// # Errors
    /// There is no `ip` here, or it may not do this.
    fn new(nodes: usize) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("espalier-{}-{number}", std::process::id());
        // From here on, whatever fails, the drop removes what was made.
        let made = Self { prefix, nodes };
        let hub = made.name(Machine::Hub);
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        for node in 0..nodes {
            let (link, own) = (link(node), made.name(Machine::Node(node)));
            ip(&["netns", "add", &own])?;
            ip(&["-n", &own, "link", "set", "lo", "up"])?;
            // Both ends are born inside: the machine itself never has them.
            let ends = ["link", "add", &link, "netns", &hub, "type", "veth"];
            let ends = [&ends[..], &["peer", "name", "uplink", "netns", &own]].concat();
            ip(&ends)?;
            let hub_address = format!("{}/30", hub_address(node));
            ip(&["-n", &hub, "address", "add", &hub_address, "dev", &link])?;
            let own_address = format!("10.77.{node}.2/30");
            ip(&["-n", &own, "address", "add", &own_address, "dev", "uplink"])?;
            ip(&["-n", &hub, "link", "set", &link, "up"])?;
            ip(&["-n", &own, "link", "set", "uplink", "up"])?;
        }
        Ok(made)
    }

    fn name(&self, machine: Machine) -> String {
        match machine {
            Machine::Hub => format!("{}-hub", self.prefix),
            Machine::Node(node) => format!("{}-node{node}", self.prefix),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let nodes = (0..self.nodes).map(Machine::Node);
        for machine in nodes.chain([Machine::Hub]) {
            // One that was not made is not there.
            let _ = ip(&["netns", "delete", &self.name(machine)]);
        }
    }
}

/// The coordinator's end of a node's link.
fn link(node: usize) -> String {
    format!("node{node}")
}

fn hub_address(node: usize) -> String {
    format!("10.77.{node}.1")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = command("ip").args(arguments).output();
    let output = output.context("ip (of iproute2) cannot be started")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = arguments.join(" ");
    ensure!(output.status.success(), "ip {line}: {}", errors.trim());
    Ok(())
}
