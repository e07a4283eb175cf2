//! The load: lanes that call one after another, each with a connection per caller, and what became of every request.

use crate::{
    cast::{Caller, Identity},
    outcome::{Judgement, Outcome, judge},
};
use http::Request;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use testbed::{
    World,
    client::{Client, Connection, Error},
};
use tokio::task::JoinSet;

/// What was counted in one phase.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    pub let_in: u64,
    /// Refusals of the filter, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Announced for this fault, and what it was.
    pub stated: BTreeMap<String, u64>,
    pub lost: u64,
    pub wrong: u64,
    /// Sent again since a kept-alive connection had been closed before its answer.
    pub retried: u64,
    pub slowest: Duration,
    /// What was lost or wrong, in words; the first few.
    pub examples: Vec<String>,
}

/// The load, as its lanes and its director share it.
pub struct Traffic {
    world: Arc<World>,
    doors: BTreeMap<&'static str, SocketAddr>,
    lanes: usize,
    /// Between two requests of a lane.
    pause: Duration,
    stop: AtomicBool,
    state: Mutex<State>,
}

struct State {
    callers: Vec<Caller>,
    /// Callers by share, in the order of their turns.
    deck: Vec<usize>,
    /// The latest outcome of each, and how often it came in a row.
    streaks: Vec<(Option<Outcome>, u64)>,
    tallies: Vec<Tally>,
    per_caller: Vec<BTreeMap<Outcome, u64>>,
    /// In this phase: when each was first and last refused with 503, and its longest request.
    waits: Vec<(Option<(Instant, Instant)>, Duration)>,
    stated: Option<fn(&Outcome) -> bool>,
}

impl State {
    fn shuffle(&mut self) {
        // Round by round, so that no caller has its turns in a row.
        let most = self.callers.iter().map(|caller| caller.share).max().unwrap_or(0);
        let of_round = |round: usize| {
            self.callers
                .iter()
                .enumerate()
                .filter(move |(_, caller)| round < caller.share)
                .map(|(index, _)| index)
        };
        self.deck = (0..most).flat_map(of_round).collect();
    }

    fn tally(&mut self) -> &mut Tally {
        if self.tallies.is_empty() {
            self.tallies.push(Tally::default());
        }
        self.tallies.last_mut().expect("a phase")
    }
}

impl Traffic {
    pub fn new(
        world: Arc<World>,
        doors: BTreeMap<&'static str, SocketAddr>,
        callers: Vec<Caller>,
        lanes: usize,
        pause: Duration,
    ) -> Arc<Self> {
        let count = callers.len();
        let mut state = State {
            callers,
            deck: Vec::new(),
            streaks: vec![(None, 0); count],
            tallies: Vec::new(),
            per_caller: vec![BTreeMap::new(); count],
            waits: vec![(None, Duration::ZERO); count],
            stated: None,
        };
        state.shuffle();
        let stop = AtomicBool::new(false);
        Arc::new(Self { world, doors, lanes, pause, stop, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(state: &State, name: &str) -> usize {
        state
            .callers
            .iter()
            .position(|caller| caller.name == name)
            .unwrap_or_else(|| panic!("no caller has the name {name}"))
    }

    /// Starts the lanes.
    pub fn start(self: &Arc<Self>) -> JoinSet<()> {
        (0..self.lanes).map(|number| Lane::new(self.clone(), number).run()).collect()
    }

    /// Asks the lanes to end after their request.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// From now on it is counted anew; `stated` are outcomes that the documentation announces.
    pub fn begin_phase(&self, stated: Option<fn(&Outcome) -> bool>) {
        let mut state = self.state();
        state.tallies.push(Tally::default());
        state.waits.fill((None, Duration::ZERO));
        state.stated = stated;
    }

    /// From now on nothing is excused any more.
    pub fn end_exception(&self) {
        self.state().stated = None;
    }

    /// How long a caller was refused with 503 in this phase, from the first such request to the last.
    pub fn outage(&self, name: &str) -> Duration {
        let state = self.state();
        state.waits[Self::index(&state, name)].0.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// A caller's longest request in this phase.
    pub fn slowest(&self, name: &str) -> Duration {
        let state = self.state();
        state.waits[Self::index(&state, name)].1
    }

    /// What was counted in this phase so far.
    pub fn tally(&self) -> Tally {
        self.state().tally().clone()
    }

    /// Everything that was counted.
    pub fn tallies(&self) -> Vec<Tally> {
        self.state().tallies.clone()
    }

    /// Per caller: name, and how often it had which outcome.
    pub fn per_caller(&self) -> Vec<(&'static str, BTreeMap<Outcome, u64>)> {
        let state = self.state();
        state
            .callers
            .iter()
            .zip(&state.per_caller)
            .map(|(caller, counts)| (caller.name, counts.clone()))
            .collect()
    }

    /// Callers that reached the service without an allowed answer. The only excuses are an answer that never arrived and a
    /// request that was sent again; a caller that was never allowed has no excuse.
    pub fn intruders(&self) -> Vec<String> {
        let retried: u64 = self.tallies().iter().map(|tally| tally.retried).sum();
        let mut found = Vec::new();
        let doors: Vec<_> = self.state().callers.iter().map(|caller| caller.door).collect();
        for (index, (name, outcomes)) in self.per_caller().into_iter().enumerate() {
            let let_in = outcomes.get(&Outcome::LetIn).copied().unwrap_or(0);
            let cut = |outcome: &Outcome| matches!(outcome, Outcome::Envoy(_) | Outcome::Nothing(_));
            let cut_off: u64 =
                outcomes.iter().filter(|(outcome, _)| cut(outcome)).map(|(_, count)| count).sum();
            let most = if let_in == 0 { 0 } else { let_in + cut_off + retried };
            let path = path_of(doors[index], index);
            let served = u64::try_from(self.world.upstream.count_of(&path)).unwrap_or(u64::MAX);
            if served < let_in || served > most {
                found.push(format!("{name}: {let_in} requests allowed, and the service saw {served}"));
            }
        }
        found
    }

    /// What is right for a caller from now on.
    pub fn expect(&self, name: &str, outcomes: &[Outcome]) {
        let mut state = self.state();
        let index = Self::index(&state, name);
        state.callers[index].expected = outcomes.to_vec();
        state.streaks[index] = (None, 0);
    }

    /// From now on this is right as well as what was.
    pub fn may_become(&self, name: &str, outcome: &Outcome) {
        let mut state = self.state();
        let index = Self::index(&state, name);
        state.callers[index].expected.push(outcome.clone());
        state.streaks[index] = (None, 0);
    }

    /// Counts anew how often in a row a caller has had an outcome.
    pub fn restart_streak(&self, name: &str) {
        let mut state = self.state();
        let index = Self::index(&state, name);
        state.streaks[index] = (None, 0);
    }

    /// Who had no turn so far has from now on, or has none any more.
    pub fn set_share(&self, name: &str, share: usize) {
        let mut state = self.state();
        let index = Self::index(&state, name);
        state.callers[index].share = share;
        state.shuffle();
    }

    /// Another certificate for a caller, from its next request on.
    pub fn set_identity(&self, name: &str, identity: Identity) {
        let mut state = self.state();
        let index = Self::index(&state, name);
        state.callers[index].identity = identity;
    }

    /// How often in a row a caller has had this outcome.
    pub fn streak(&self, name: &str, outcome: &Outcome) -> u64 {
        let state = self.state();
        let (latest, count) = &state.streaks[Self::index(&state, name)];
        if latest.as_ref() == Some(outcome) { *count } else { 0 }
    }

    /// Whose turn it is, and what is right before the request is made.
    fn turn(&self, number: usize) -> (usize, Caller) {
        let state = self.state();
        let index = state.deck[number % state.deck.len()];
        (index, state.callers[index].clone())
    }

    fn count(&self, index: usize, before: &Caller, outcome: &Outcome, retried: bool, took: Duration) {
        let mut state = self.state();
        let mut expected = before.expected.clone();
        // What changed meanwhile counts as well.
        for also in &state.callers[index].expected {
            if !expected.contains(also) {
                expected.push(also.clone());
            }
        }
        let judgement = judge(outcome, &expected, state.stated);
        let (latest, streak) = &mut state.streaks[index];
        if latest.as_ref() == Some(outcome) {
            *streak += 1;
        } else {
            (*latest, *streak) = (Some(outcome.clone()), 1);
        }
        *state.per_caller[index].entry(outcome.clone()).or_default() += 1;
        if matches!(outcome, Outcome::Refused(503, _)) {
            let now = Instant::now();
            let first = now.checked_sub(took).unwrap_or(now);
            state.waits[index].0.get_or_insert((first, now)).1 = now;
        }
        state.waits[index].1 = state.waits[index].1.max(took);
        let tally = state.tally();
        tally.requests += 1;
        tally.retried += u64::from(retried);
        tally.slowest = tally.slowest.max(took);
        match outcome {
            Outcome::LetIn => tally.let_in += 1,
            Outcome::Refused(_, code) => *tally.refused.entry(code.clone()).or_default() += 1,
            _ => {}
        }
        match judgement {
            Judgement::Right => {}
            Judgement::Stated => *tally.stated.entry(outcome.to_string()).or_default() += 1,
            Judgement::Lost => tally.lost += 1,
            Judgement::Wrong => tally.wrong += 1,
        }
        if matches!(judgement, Judgement::Lost | Judgement::Wrong) && tally.examples.len() < 10 {
            let ms = took.as_millis();
            tally.examples.push(format!("{judgement:?}: {}: {outcome}, after {ms} ms", before.name));
        }
    }
}

/// What a caller asks for, so that the service can tell who came through.
fn path_of(door: &str, caller: usize) -> String {
    format!("/{door}/{caller}")
}

/// One request at a time, on a connection per caller.
struct Lane {
    traffic: Arc<Traffic>,
    number: usize,
    /// How often each was used.
    open: BTreeMap<usize, (Connection, usize)>,
    /// With the certificate that each was made for, so that TLS sessions are resumed.
    clients: BTreeMap<usize, (String, Client)>,
    identities: BTreeMap<usize, String>,
}

impl Lane {
    fn new(traffic: Arc<Traffic>, number: usize) -> Self {
        Self { traffic, number, open: BTreeMap::new(), clients: BTreeMap::new(), identities: BTreeMap::new() }
    }

    async fn run(mut self) {
        // Each begins elsewhere.
        let mut turn = self.number * 7;
        while !self.traffic.stop.load(Ordering::Relaxed) {
            let (index, caller) = self.traffic.turn(turn);
            turn += 1;
            let began = Instant::now();
            let (outcome, retried) = self.call(index, &caller).await;
            self.traffic.count(index, &caller, &outcome, retried, began.elapsed());
            if !self.traffic.pause.is_zero() {
                tokio::time::sleep(self.traffic.pause).await;
            }
        }
    }

    /// A request. If its kept-alive connection ends before an answer, it is sent once more on a new one, as clients do.
    async fn call(&mut self, index: usize, caller: &Caller) -> (Outcome, bool) {
        let mut retried = false;
        let who = caller.identity.key();
        if self.identities.get(&index).is_none_or(|known| known != who) {
            // Another certificate: connections of the last one are its.
            self.identities.insert(index, who.to_owned());
            self.open.remove(&index);
        }
        loop {
            let kept = self
                .open
                .remove(&index)
                .filter(|(connection, used)| connection.is_open() && *used < caller.per_connection);
            let reused = kept.is_some();
            let (mut connection, used) = match kept {
                Some(kept) => kept,
                None => match self.client(index, caller).connect().await {
                    Ok(connection) => (connection, 0),
                    Err(error) => return (Outcome::of(&Err(error)), retried),
                },
            };
            let mut request = Request::get(path_of(caller.door, index));
            if let Some((name, value)) = &caller.header {
                request = request.header(*name, value);
            }
            let answer = connection.send(request.body(Vec::new()).expect("a request")).await;
            let ended = matches!(answer, Err(Error::Closed(_) | Error::Http(_)));
            if ended && reused && !retried {
                retried = true;
                continue;
            }
            if answer.is_ok() {
                self.open.insert(index, (connection, used + 1));
            }
            return (Outcome::of(&answer), retried);
        }
    }

    fn client(&mut self, index: usize, caller: &Caller) -> Client {
        let leaf = match &caller.identity {
            Identity::Nobody => None,
            Identity::Leaf(leaf) => Some((**leaf).clone()),
            Identity::Fresh(issue) => Some(issue()),
        };
        let who = leaf.as_ref().map(|leaf| leaf.sha256.clone()).unwrap_or_default();
        if let Some((_, client)) = self.clients.get(&index).filter(|(known, _)| *known == who) {
            return client.clone();
        }
        let addr = self.traffic.doors[caller.door];
        let mut client = self.traffic.world.client(addr);
        if let Some(leaf) = &leaf {
            client = client.identity(leaf);
        }
        // Half of the lanes speak HTTP/2, and half resume TLS sessions.
        if self.number % 2 == 1 {
            client = client.http2();
        }
        if self.number / 2 % 2 == 1 {
            client = client.resumption();
        }
        let client = client.build();
        self.clients.insert(index, (who, client.clone()));
        client
    }
}
