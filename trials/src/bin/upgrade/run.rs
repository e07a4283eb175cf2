//! The steps of an upgrade and of the way back, and what the traffic had to say about each.

use crate::scene::{
    API, BY_CA, BY_DIGICERT, Modules, NEW, OLD, Scene, Setup, Way, asks_host, not_loaded,
    signature_unavailable,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use trials::{
    Failure,
    outcome::Outcome,
    report::thousands,
    stage::PATIENCE,
    traffic::{Tally, Traffic},
};

/// So many times in a row each genuine caller has to be allowed: on new connections that reaches each worker.
const SETTLED: u64 = 25;
const POLL: Duration = Duration::from_millis(20);
/// One of these words tells the operator what a rejected or closed module lacks.
const REPORTS: [&str; 3] = ["verify_signature", "signature_unavailable", "proxy_call_foreign_function"];

/// What came of one step.
#[derive(Debug)]
pub struct Step {
    pub way: Way,
    pub name: &'static str,
    pub took: Duration,
    pub requests: u64,
    pub allowed: u64,
    pub lost: u64,
    pub wrong: u64,
    /// Without an answer while Envoy was restarted.
    pub cut_off: u64,
    /// By `pins: [api]` alone: refusals with 503, and how long they lasted.
    pub refused: u64,
    pub outage: Duration,
    /// The longest request of DigiCert's certificate where `issuers` is set: what it was held.
    pub held: Duration,
    pub api_calls: usize,
    /// Refused since the host could not be asked for signatures.
    pub closed: u64,
    pub note: String,
    pub objections: Vec<String>,
}

/// What Envoy may do with a configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Taken,
    TakenOrRejected,
    /// A module that needs a capability which its list lacks: rejected, or taken and closed, and reported either way.
    Reported,
}

struct Run<'a> {
    modules: &'a Modules,
    scene: Scene,
    steps: Vec<Step>,
    /// Whether the last step left a module that allows no certificate.
    closed: bool,
}

/// One way, there and back. What came of each step.
pub async fn run(way: Way, modules: &Modules) -> Result<Vec<Step>, Failure> {
    let scene = Scene::start(way, modules).await?;
    let mut run = Run { modules, scene, steps: Vec::new(), closed: false };
    run.allow_not_loaded();
    run.settle().await?;
    let (old_list, new_list) = (OLD, Setup { new_list: true, ..OLD });
    match way {
        Way::Lds | Way::Restart => {
            run.step("the new module, with its list", NEW, Expected::Taken).await?;
            run.step("back: the old module, with its list", OLD, Expected::Taken).await?;
        }
        Way::Ecds => {
            run.step("the list gains the function", new_list, Expected::Taken).await?;
            run.step("the new module", NEW, Expected::Taken).await?;
            run.step("back: the old module", new_list, Expected::Taken).await?;
            run.step("back: the old list", old_list, Expected::Taken).await?;
            let too_early = Setup { new_module: true, ..old_list };
            run.step("wrong order: the new module first", too_early, Expected::Reported).await?;
            run.step("cure: the list alone", NEW, Expected::TakenOrRejected).await?;
            let cure = Setup { other_vm_id: true, ..NEW };
            run.step("cure: the list and another vm_id", cure, Expected::Taken).await?;
            run.step("back: the old module, with its list", OLD, Expected::Taken).await?;
        }
    }
    let Run { scene, mut steps, .. } = run;
    let intruders = scene.finish().await?;
    if let Some(step) = steps.last_mut() {
        step.objections.extend(intruders);
    }
    Ok(steps)
}

/// What a restart may do to a request: no connection, or one that ends before the answer.
fn cut_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Nothing(_))
}

/// Refusals with 503 of the genuine caller by DigiCert, so far.
fn refusals(traffic: &Traffic) -> u64 {
    let of_digicert = traffic.per_caller().into_iter().filter(|(name, _)| BY_DIGICERT.contains(name));
    of_digicert
        .flat_map(|(_, outcomes)| outcomes)
        .filter(|(outcome, _)| matches!(outcome, Outcome::Refused(503, _)))
        .map(|(_, count)| count)
        .sum()
}

impl Run<'_> {
    fn traffic(&self, door: &str) -> &Arc<Traffic> {
        let at = crate::scene::DOORS.iter().position(|known| *known == door);
        &self.scene.traffic[at.expect("a door")]
    }

    /// From now on `pins: [api]` alone may wait for the API.
    fn allow_not_loaded(&self) {
        for caller in BY_DIGICERT {
            self.traffic(API).expect(caller, &[Outcome::LetIn, not_loaded()]);
        }
    }

    /// Waits until each genuine caller is allowed, or, where that is right, until a closed module refuses it.
    async fn settle(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let settled = |traffic: &Traffic, caller| {
            let closed = if self.closed { traffic.streak(caller, &signature_unavailable()) } else { 0 };
            traffic.streak(caller, &Outcome::LetIn).max(closed) >= SETTLED
        };
        for traffic in &self.scene.traffic {
            for caller in BY_CA.into_iter().chain(BY_DIGICERT) {
                while !settled(traffic, caller) {
                    if began.elapsed() > PATIENCE {
                        let (tally, log) = (traffic.tally(), self.scene.envoy.log_tail(20));
                        return Err(format!("`{caller}` is not allowed in time: {tally:?}\n{log}").into());
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        }
        Ok(())
    }

    /// Asks for one outcome, or some, of each genuine caller from now on, and counts anew how often it came in a row.
    fn demand(&self, closed: bool) {
        let mut right = vec![Outcome::LetIn];
        right.extend(closed.then(signature_unavailable));
        for traffic in &self.scene.traffic {
            for caller in BY_CA.into_iter().chain(BY_DIGICERT) {
                traffic.expect(caller, &right);
            }
        }
    }

    async fn step(&mut self, name: &'static str, setup: Setup, expected: Expected) -> Result<(), Failure> {
        let began = Instant::now();
        let asks_host = asks_host(&self.modules.new);
        let reports = |run: &Self| REPORTS.map(|word| run.scene.envoy.count_in_log(word));
        let (api_before, refused_before, reports_before) =
            (self.scene.api_calls(), refusals(self.traffic(API)), reports(self));
        let may_close = self.closed || (expected == Expected::Reported && asks_host);
        let excuse: Option<fn(&Outcome) -> bool> = (self.scene.way == Way::Restart).then_some(cut_off);
        for traffic in &self.scene.traffic {
            traffic.begin_phase(excuse);
        }
        self.demand(may_close);
        for caller in BY_DIGICERT {
            self.traffic(API).may_become(caller, &not_loaded());
        }

        let taken = self.scene.apply(setup).await?;
        for traffic in &self.scene.traffic {
            traffic.end_exception();
        }
        self.closed = may_close && taken && expected == Expected::Reported;
        // Once with what the change excuses, counted from here, and once without.
        for caller in BY_CA.into_iter().chain(BY_DIGICERT) {
            for traffic in &self.scene.traffic {
                traffic.restart_streak(caller);
            }
        }
        self.settle().await?;
        self.scene.wait_drained().await?;
        self.demand(self.closed);
        self.settle().await?;

        let mut step = self.count(name, began.elapsed());
        step.api_calls = self.scene.api_calls() - api_before;
        step.refused = refusals(self.traffic(API)) - refused_before;
        let mut notes = vec![if taken { "taken" } else { "rejected, the old policy serves on" }.to_owned()];
        if step.closed > 0 {
            notes.push(format!("{} requests refused: {}", thousands(step.closed), signature_unavailable()));
        }
        if !taken && step.refused + step.closed > 0 {
            step.objections.push("rejected, and refusals all the same".to_owned());
        }
        if !taken && expected == Expected::Taken {
            step.objections.push("rejected".to_owned());
        }
        let reported = reports(self) != reports_before;
        if expected == Expected::Reported && asks_host {
            if reported {
                notes.push("reported in the log".to_owned());
            } else {
                step.objections.push("no line of the log says what the module lacks".to_owned());
            }
        } else if expected == Expected::Reported {
            notes.push("it asks the host for no signature".to_owned());
        }
        step.note = notes.join(", ");
        println!(
            "{:?}: {name}: {:.1} s, {} requests, {} lost, {} wrong, {}",
            step.way,
            step.took.as_secs_f64(),
            thousands(step.requests),
            step.lost,
            step.wrong,
            step.note
        );
        for objection in &step.objections {
            println!("    {objection}");
        }
        self.steps.push(step);
        Ok(())
    }

    /// Adds up what the doors counted.
    fn count(&self, name: &'static str, took: Duration) -> Step {
        let tallies: Vec<Tally> = self.scene.traffic.iter().map(|traffic| traffic.tally()).collect();
        let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
        let (lost, wrong) = (sum(|tally| tally.lost), sum(|tally| tally.wrong));
        let examples = tallies.iter().flat_map(|tally| tally.examples.clone());
        let outage = BY_DIGICERT.map(|caller| self.traffic(API).outage(caller));
        let held = BY_DIGICERT.map(|caller| self.traffic("issuers").slowest(caller));
        Step {
            way: self.scene.way,
            name,
            took,
            requests: sum(|tally| tally.requests),
            allowed: sum(|tally| tally.let_in),
            lost,
            wrong,
            cut_off: sum(|tally| tally.stated.values().sum()),
            refused: 0,
            outage: outage.into_iter().max().unwrap_or_default(),
            held: held.into_iter().max().unwrap_or_default(),
            api_calls: 0,
            closed: sum(|tally| tally.refused.get("signature_unavailable").copied().unwrap_or_default()),
            note: String::new(),
            objections: examples.collect(),
        }
    }
}
