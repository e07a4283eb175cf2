//! Announcements, and whether they came true.

use std::time::Duration;

use testbed::{World, envoy::Error, pki::Leaf, upstream::echoed};
use tokio::time::Instant;

use crate::{
    screen::Screen,
    stage::{Caller, PATIENCE, Seen, Stage},
};

/// The identity header that the demo's policy asks for.
pub const IDENTITY: &str = "x-genesys-cloud-client";

/// What is announced about a request.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// It reaches the service; this authority vouched.
    LetIn(&'static str),
    /// The filter refuses it, with this status and reason code.
    Refused(u16, &'static str),
    /// TLS refuses it: there is no answer at all.
    Alert(&'static str),
    /// The filter does not decide, and the guard denies it.
    Guarded,
    /// The filter does not decide, and there is no guard.
    Unguarded,
}

/// A row of a table of requests.
pub type Row<'a> = (&'a str, Option<&'a Leaf>, Expect);

impl Expect {
    fn got(self) -> String {
        match self {
            Self::LetIn(_) | Self::Unguarded => "200".into(),
            Self::Refused(status, code) => format!("{status} {code}"),
            Self::Alert(alert) => format!("alert {alert}"),
            Self::Guarded => "403 by the guard".into(),
        }
    }

    fn verdict(self) -> String {
        match self {
            Self::LetIn(authority) => format!("allow;us-east-1;{authority}"),
            Self::Refused(_, code) => format!("deny;{code}"),
            Self::Alert(_) | Self::Guarded | Self::Unguarded => String::new(),
        }
    }

    /// Everything about an observation that is not as announced.
    fn objections(self, seen: &Seen) -> Vec<String> {
        let mut objections = Vec::new();
        if seen.got != self.got() {
            objections.push(match &seen.response {
                Some(response) => format!("the answer was: {} {}", response.status, response.text().trim()),
                None => "there was no answer".to_owned(),
            });
        }
        if seen.verdict != self.verdict() {
            objections.push(format!("the verdict should be: {}", or_none(&self.verdict())));
        }
        let let_in = matches!(self, Self::LetIn(_) | Self::Unguarded);
        if seen.reached != let_in {
            objections.push(format!("the service {} it", if seen.reached { "saw" } else { "did not see" }));
        }
        if let (Self::Refused(_, code), Some(details)) = (self, seen.entry["details"].as_str())
            && details != format!("genesys_mtls:{code}")
        {
            objections.push(format!("the access log's details are: {details}"));
        }
        if matches!(self, Self::LetIn(_)) {
            let identity = seen.identity();
            if identity.len() != 1 || !identity.iter().all(|value| value.starts_with("region=\"us-east-1\""))
            {
                objections.push(format!("the service saw {IDENTITY}: {identity:?}"));
            }
        }
        objections
    }
}

impl Seen {
    /// The identity headers that the service saw.
    pub fn identity(&self) -> Vec<String> {
        let echo = self.response.as_ref().and_then(|response| serde_json::from_slice(&response.body).ok());
        echo.map(|echo| echoed(&echo, IDENTITY)).unwrap_or_default()
    }
}

/// The demo as it goes: its world, its screen, and how many announcements came true.
#[derive(Debug)]
pub struct Demo {
    pub world: World,
    pub screen: Screen,
    pub announced: usize,
    pub wrong: usize,
    knocks: usize,
    /// How many were wrong when Envoy's log was last shown.
    shown: usize,
}

impl Demo {
    pub fn new(world: World, screen: Screen) -> Self {
        Self { world, screen, announced: 0, wrong: 0, knocks: 0, shown: 0 }
    }

    /// One request; a row.
    pub async fn check(&mut self, stage: &Stage, caller: Caller<'_>, expect: Expect) -> Result<Seen, Error> {
        let seen = self.knock(stage, &caller).await?;
        self.report(&caller, expect, &seen);
        Ok(seen)
    }

    /// A request per row: who, with which certificate, and what comes of it.
    pub async fn table(&mut self, stage: &Stage, rows: &[Row<'_>]) -> Result<Vec<Seen>, Error> {
        let mut all = Vec::new();
        for (name, leaf, expect) in rows {
            all.push(self.check(stage, Caller::new(name, *leaf), *expect).await?);
        }
        Ok(all)
    }

    /// The same as [`Self::check`] after something has changed: each worker learns of it within a tick, so it may take another try.
    pub async fn check_soon(
        &mut self,
        stage: &Stage,
        caller: Caller<'_>,
        expect: Expect,
    ) -> Result<Seen, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.knock(stage, &caller).await?;
            if expect.objections(&seen).is_empty() || Instant::now() > deadline {
                self.report(&caller, expect, &seen);
                return Ok(seen);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One of the filter's metrics of us-east-1, as soon as it is as announced; a row.
    pub async fn metric(
        &mut self,
        stage: &Stage,
        name: &str,
        announced: &str,
        done: impl Fn(u64) -> bool,
    ) -> Result<(), Error> {
        let value = stage.metric(name, done).await?;
        self.fact(&format!("metric {name}"), announced, &value.to_string(), true);
        Ok(())
    }

    /// Something that no request shows; a row as well.
    pub fn fact(&mut self, what: &str, announced: &str, got: &str, good: bool) {
        self.announced += 1;
        self.wrong += usize::from(!good);
        self.screen.row(good, [what, announced, got], "");
    }

    /// Shows the end of Envoy's log if something has gone wrong since this was last called.
    pub fn show_log_if_wrong(&mut self, stage: &Stage) {
        if self.wrong > self.shown {
            self.shown = self.wrong;
            self.screen.line(stage.envoy.log_tail(40));
        }
    }

    async fn knock(&mut self, stage: &Stage, caller: &Caller<'_>) -> Result<Seen, Error> {
        self.knocks += 1;
        stage.knock(&self.world, caller, &format!("/demo/{}", self.knocks)).await
    }

    fn report(&mut self, caller: &Caller<'_>, expect: Expect, seen: &Seen) {
        let objections = expect.objections(seen);
        self.announced += 1;
        self.wrong += usize::from(!objections.is_empty());
        let verdict = if seen.entry.is_null() { "no entry" } else { or_none(&seen.verdict) };
        self.screen.row(objections.is_empty(), [caller.name, &expect.got(), &seen.got], verdict);
        for objection in objections {
            self.screen.wrong_because(&objection);
        }
    }
}

fn or_none(verdict: &str) -> &str {
    if verdict.is_empty() { "none" } else { verdict }
}
