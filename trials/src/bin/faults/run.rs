//! One run: the stage, the traffic, and the phases so far.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};
use testbed::stand_in::vandal;
use tokio::task::JoinSet;
use trials::{
    Failure,
    cast::{Fated, everybody, unsettled},
    outcome::Outcome,
    shared_data,
    stage::{PATIENCE, Plan, Stage, hard_policy, policy},
    traffic::{Tally, Traffic},
};

/// How long the whole trial may take.
pub const AT_MOST: Duration = Duration::from_mins(40);
/// Workers of Envoy, and requests under way at any time.
pub const WORKERS: u32 = 4;
pub const LANES: usize = 4;
/// So many times in a row a new outcome has to come before it is the only right one.
const SETTLED: u64 = 60;
/// Then this long, since a worker without requests may notice it a tick later.
const GRACE: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub struct Options {
    pub requests: u64,
    pub only: Option<String>,
}

/// What the documentation announces for a fault: in words, and how to tell it.
pub type Exception = (&'static str, fn(&Outcome) -> bool);

/// What was done in a phase, and what the traffic had to say.
pub struct Phase {
    pub name: &'static str,
    pub what: &'static str,
    /// What the documentation announces for it, in words; nothing if no exception is made.
    pub stated: &'static str,
    pub notes: Vec<String>,
    pub tally: Tally,
    pub held: u64,
    pub took: Duration,
}

pub struct Run {
    pub stage: Stage,
    pub fated: Fated,
    pub traffic: Arc<Traffic>,
    pub phases: Vec<Phase>,
    requests: u64,
    only: Option<String>,
    lanes: JoinSet<()>,
    began: Instant,
    held_before: u64,
    guarded_before: u64,
}

/// What is left to object to.
pub struct Verdict {
    pub requests: u64,
    pub let_in: u64,
    pub served: u64,
    pub guarded: u64,
    pub objections: Vec<String>,
}

impl Run {
    pub async fn start(options: &Options) -> Result<Self, Failure> {
        // Keys depend on the policy only, so a first world without traffic shows them.
        let world = testbed::World::start().await?;
        let noise = |keys: Vec<String>| -> Vec<u8> {
            vandal(&keys.into_iter().map(|key| (key, vec![0xff; 64])).collect::<Vec<_>>())
        };
        let others = vec![
            ("vandal_of_pins", noise(shared_data::pin_keys(&world, &policy(&world))?)),
            ("vandal_of_lists", noise(shared_data::list_keys(&world, &policy(&world))?)),
            ("vandal_of_hard_lists", noise(shared_data::list_keys(&world, &hard_policy(&world))?)),
        ];
        drop(world);
        let plan = Plan { workers: WORKERS, lifetime: AT_MOST, hot_restart: true, others };
        let stage = Stage::start(plan).await?;
        let fated = Fated::new(&stage.world);
        stage.api_names(&[&fated.digicert[0]], &[]);
        stage.rises("refreshes.ok.us-east-1", 2).await?;
        let callers = everybody(&stage.world, &fated);
        let traffic = Traffic::new(
            stage.world.clone(),
            stage.doors(&["ingress", "hard"]),
            callers,
            LANES,
            Duration::ZERO,
        );
        Ok(Self {
            lanes: JoinSet::new(),
            phases: Vec::new(),
            requests: options.requests,
            only: options.only.clone(),
            began: Instant::now(),
            held_before: 0,
            guarded_before: 0,
            stage,
            fated,
            traffic,
        })
    }

    /// Begins a phase, unless it is not asked for.
    pub async fn begin(
        &mut self,
        name: &'static str,
        what: &'static str,
        stated: Option<Exception>,
    ) -> Result<bool, Failure> {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return Ok(false);
        }
        let _ = write!(std::io::stdout(), "{name:<44}");
        let _ = std::io::stdout().flush();
        self.held_before = self.held().await?;
        self.traffic.begin_phase(stated.map(|(_, stated)| stated));
        if self.lanes.is_empty() {
            self.lanes = self.traffic.start();
        }
        self.began = Instant::now();
        let stated = stated.map_or("", |(words, _)| words);
        let (notes, tally, held, took) = (Vec::new(), Tally::default(), 0, Duration::ZERO);
        self.phases.push(Phase { name, what, stated, notes, tally, held, took });
        Ok(true)
    }

    /// Ends it when there were enough requests in it.
    pub async fn end(&mut self) -> Result<(), Failure> {
        while self.traffic.tally().requests < self.requests {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = self.held().await?.saturating_sub(self.held_before);
        let (tally, took) = (self.traffic.tally(), self.began.elapsed());
        let phase = self.phases.last_mut().ok_or("no phase")?;
        println!(
            "{:>7} requests {:>4.0} s  stated {:>4}  lost {:>3}  wrong {:>3}",
            tally.requests,
            took.as_secs_f64(),
            tally.stated.values().sum::<u64>(),
            tally.lost,
            tally.wrong
        );
        for example in &tally.examples {
            println!("    {example}");
        }
        (phase.tally, phase.held, phase.took) = (tally, held, took);
        Ok(())
    }

    pub fn note(&mut self, text: String) {
        if let Some(phase) = self.phases.last_mut() {
            phase.notes.push(text);
        }
    }

    /// Waits until nothing but this comes of a caller any more, and then demands it. Since when it may come has to have
    /// been said before.
    pub async fn settle(&mut self, caller: &str, outcome: &Outcome) -> Result<(), Failure> {
        let began = Instant::now();
        while self.traffic.streak(caller, outcome) < SETTLED {
            if began.elapsed() > PATIENCE {
                return Err(format!("`{caller}` is not `{outcome}` within {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = began.elapsed();
        tokio::time::sleep(GRACE).await;
        let mut right = vec![outcome.clone()];
        if *outcome == Outcome::denied("not_pinned") {
            right.extend(unsettled());
        }
        self.traffic.expect(caller, &right);
        self.note(format!("{caller}: {outcome}, settled within {:.1} s", took.as_secs_f64()));
        Ok(())
    }

    /// Requests that waited for an early refresh, so far.
    async fn held(&self) -> Result<u64, Failure> {
        Ok(self.stage.envoy.stat("wasmcustom.genesys_mtls.default.held_requests").await?)
    }

    /// Requests that the guard refused, since this process began.
    async fn guarded(&self) -> Result<u64, Failure> {
        let mut guarded = 0;
        for door in ["ingress", "hard"] {
            guarded += self.stage.envoy.stat(&format!("http.{door}.rbac.genesys_guard_.denied")).await?;
        }
        Ok(guarded)
    }

    /// A hot restart. The new process counts from zero.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.guarded_before += self.guarded().await?;
        self.held_before = 0;
        self.stage.envoy.restart_hot().await?;
        Ok(())
    }

    pub async fn finish(&mut self) -> Result<(), Failure> {
        self.traffic.stop();
        while let Some(lane) = self.lanes.join_next().await {
            lane?;
        }
        Ok(())
    }

    /// Adds everything up.
    pub async fn verdict(&self) -> Result<Verdict, Failure> {
        let sum = |of: fn(&Tally) -> u64| self.traffic.tallies().iter().map(of).sum::<u64>();
        let (requests, let_in) = (sum(|tally| tally.requests), sum(|tally| tally.let_in));
        let served = u64::try_from(self.stage.world.upstream.count())?;
        let guarded = self.guarded_before + self.guarded().await?;
        let mut objections = Vec::new();
        for phase in &self.phases {
            let Tally { lost, wrong, .. } = phase.tally;
            if lost + wrong > 0 {
                objections.push(format!("{}: {lost} lost, {wrong} wrong", phase.name));
            }
        }
        objections.extend(self.traffic.intruders());
        if guarded > 0 {
            objections.push(format!("the guard refused {guarded} requests: a worker skipped the filter"));
        }
        Ok(Verdict { requests, let_in, served, guarded, objections })
    }
}
