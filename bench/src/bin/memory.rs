//! A million requests of ten thousand certificates with ten thousand refreshes between them, in the interpreter: any leak or
//! growth shows in the VM's memory. Writes `target/reports/memory.md`, and fails if memory is not flat.

use bench::{
    document,
    scene::{answer, script, show},
    vm::Compiled,
};
use serde_json::json;
use std::{fmt::Write as _, process::ExitCode};
use testbed::{
    paths,
    pki::{Ca, KeyType, Leaf, Pki, pem_block},
};

const REGION: &str = "us-east-1";
const ROUNDS: usize = 10;
/// Each round: so many new certificates, with requests of those seen lately; then so many refreshes.
const STEPS: usize = 1_000;
const REQUESTS: usize = 100;
/// The layout of allocations may take one or two pages more; a leak of one byte per request would take twelve.
const SLACK: u64 = 2 * 64 * 1024;
/// Clients at a time.
const RECENT: usize = 50;
/// Longer than an hour with its jitter, in nanoseconds.
const DUE: u64 = 4_500 * 1_000_000_000;

fn main() -> ExitCode {
    let pki = Pki::standard();
    let name = pki.us.region.certificate_name;
    let ca = Ca::builder("bench").key(KeyType::P256).self_signed();
    let region = json!({"genesys": {"ca_certificates": ca.pem}, "digicert": {"pins": ["api"]}});
    let mut vm = Compiled::read(&paths::wasm_module())
        .start(script(&json!({"regions": {REGION: region}}), Some(&pki.stranger)));
    let page = |leaf: &Leaf| {
        let text = leaf.chain_pem.clone() + &pem_block(&pki.digicert_root.der);
        json!({"entities": [{"signingAuthority": "DigiCert", "certificate": text}]}).to_string().into_bytes()
    };
    // The API changes its mind every time, so that pins come and go.
    let pages = [page(&pki.us.digicert), page(&pki.us.digicert_upcoming)];
    let mut recent: Vec<Leaf> = Vec::new();
    let (mut allowed, mut refreshes) = (0_usize, 0_usize);
    let mut memory = vec![vm.memory()];
    for round in 0..ROUNDS {
        for _ in 0..STEPS {
            recent.insert(0, ca.leaf().key_name("bench").name(name).issue());
            recent.truncate(RECENT);
            for request in 0..REQUESTS {
                show(vm.script(), &recent[request * recent.len() / REQUESTS]);
                vm.stream();
            }
            let script = vm.script();
            allowed += script.written.iter().filter(|(_, value)| value.starts_with("allow;")).count();
            script.written.clear();
        }
        for step in 0..STEPS {
            // Only the clock that measures intervals moves, so that certificates do not expire meanwhile.
            vm.script().monotonic += DUE;
            vm.tick();
            while let Some((token, path)) = vm.script().dispatched.pop() {
                // The last call of a refresh.
                refreshes += usize::from(path.contains("Upcoming"));
                vm.respond(token, answer(&path, &pages[step % 2]));
            }
            vm.script().log.clear();
        }
        memory.push(vm.memory());
        println!("{} of {ROUNDS}: {} KiB", round + 1, vm.memory() / 1024);
    }
    let text = report(&memory, allowed, refreshes);
    println!("{text}");
    let expected = ROUNDS * STEPS;
    if allowed != expected * REQUESTS || refreshes != expected {
        eprintln!("expected {} allowed requests and {expected} refreshes", expected * REQUESTS);
        return ExitCode::FAILURE;
    }
    if memory[ROUNDS] > memory[2] + SLACK {
        eprintln!("memory grew by more than {} KiB after a fifth of the requests", SLACK / 1024);
        return ExitCode::FAILURE;
    }
    match document::report("memory", &text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(memory: &[u64], allowed: usize, refreshes: usize) -> String {
    let number = |count: usize| document::thousands(u64::try_from(count).unwrap_or_default());
    let mut text = format!(
        "{} allowed requests of {} certificates; {} refreshes, each naming another certificate than the one before.\n\n",
        number(allowed),
        number(ROUNDS * STEPS),
        number(refreshes),
    );
    text.push_str("| requests | memory of the VM |\n|--:|--:|\n");
    for (round, bytes) in memory.iter().enumerate() {
        let _ = writeln!(text, "| {} | {} KiB |", number(round * STEPS * REQUESTS), bytes / 1024);
    }
    text
}
