//! Hosts, routers and wires: agents that are away, agents behind NAT, whole regions that are lost, with real binaries on
//! network namespaces, and a checker that compares what the framework believes, what the master says and what really runs.

mod away;
mod checker;
mod isolated;
mod keeper;
mod names;
mod nat;
mod region;
mod site;
mod world;
