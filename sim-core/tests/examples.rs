//! The examples, each of which fails when a result is far from its closed form.

#[path = "../examples/machine_repair.rs"]
mod machine_repair;
#[path = "../examples/mm1.rs"]
mod mm1;
#[path = "../examples/two_stations.rs"]
mod two_stations;

#[test]
fn one_server() {
    mm1::main().unwrap();
}

#[test]
fn one_repairman() {
    machine_repair::main().unwrap();
}

#[test]
fn a_network() {
    two_stations::main().unwrap();
}
