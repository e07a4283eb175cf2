//! What is broken, one thing after another, and what may come of it.

use crate::run::Run;
use serde_json::json;
use std::{fs, time::Duration};
use testbed::{
    genesys::{Endpoint, Fault},
    paths,
    stand_in::crashing_each,
};
use trials::{
    Failure,
    cast::{BEGAN_LATELY, BY_CA, DIGICERT, ENDS_SOON, FRESH, HARD, HARD_REVOKED, REVOKED},
    outcome::Outcome,
    stage::{PATIENCE, policy},
};

/// Requests that a VM of the crashing module answers before it crashes.
const BEFORE_CRASH: i32 = 150;
const CRASHES: u64 = 12;
const DAY: i64 = 24 * 3600;

pub async fn all(run: &mut Run) -> Result<(), Failure> {
    calm(run, "calm, before").await?;
    slow_answers(run).await?;
    api_outage(run).await?;
    login_outage(run).await?;
    flapping(run).await?;
    announced_rotation(run).await?;
    unannounced_rotation(run).await?;
    revocation(run).await?;
    reloads(run).await?;
    damaged_pins(run).await?;
    damaged_lists(run).await?;
    crashes(run).await?;
    clock(run, "clock a day ahead", DAY, ENDS_SOON, "expired").await?;
    clock(run, "clock a day behind", -DAY, BEGAN_LATELY, "not_yet_valid").await?;
    hot_restart(run).await?;
    calm(run, "calm, after").await
}

async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

async fn calm(run: &mut Run, name: &'static str) -> Result<(), Failure> {
    if run.begin(name, "nothing", None).await? {
        run.end().await?;
    }
    Ok(())
}

async fn slow_answers(run: &mut Run) -> Result<(), Failure> {
    let what = "login, API and lists answer after two seconds";
    if !run.begin("slow answers", what, None).await? {
        return Ok(());
    }
    run.stage.world.genesys.fault(None, None, Fault::Delay(Duration::from_secs(2)));
    run.stage.rises("refreshes.ok.us-east-1", 2).await?;
    run.stage.world.genesys.clear_faults();
    run.end().await
}

async fn api_outage(run: &mut Run) -> Result<(), Failure> {
    if !run.begin("API outage", "the API resets every connection", None).await? {
        return Ok(());
    }
    for endpoint in [Endpoint::Current, Endpoint::Upcoming] {
        run.stage.world.genesys.fault(None, Some(endpoint), Fault::Reset);
    }
    run.stage.metric("refresh_failures_in_a_row.us-east-1", |n| n >= 4).await?;
    run.stage.world.genesys.clear_faults();
    run.stage.metric("refresh_failures_in_a_row.us-east-1", |n| n == 0).await?;
    run.end().await
}

async fn login_outage(run: &mut Run) -> Result<(), Failure> {
    let what = "tokens are revoked, and the login host answers 503";
    if !run.begin("login outage", what, None).await? {
        return Ok(());
    }
    run.stage.world.genesys.fault(None, Some(Endpoint::Token), Fault::Status(503));
    run.stage.world.genesys.revoke_tokens("us-east-1");
    run.stage.rises("refreshes.login_unavailable.us-east-1", 4).await?;
    run.stage.world.genesys.clear_faults();
    run.stage.metric("refresh_failures_in_a_row.us-east-1", |n| n == 0).await?;
    run.end().await
}

async fn flapping(run: &mut Run) -> Result<(), Failure> {
    let what = "login, API and list hosts refuse connections for half a second, ten times";
    if !run.begin("flapping", what, None).await? {
        return Ok(());
    }
    for _ in 0..10 {
        run.stage.world.genesys.stop().await;
        pause(0.5).await;
        run.stage.world.genesys.resume().await?;
        pause(0.5).await;
    }
    run.stage.metric("refresh_failures_in_a_row.us-east-1", |n| n == 0).await?;
    run.end().await
}

async fn announced_rotation(run: &mut Run) -> Result<(), Failure> {
    let what = "the next DigiCert certificate is announced, then takes over; the last one lapses 6 s later";
    if !run.begin("rotation, announced", what, None).await? {
        return Ok(());
    }
    let not_pinned = Outcome::denied("not_pinned");
    let [old, new, _] = run.fated.digicert.clone();
    run.traffic.may_become(DIGICERT[1], &Outcome::LetIn);
    run.stage.api_names(&[&old], &[&new]);
    run.settle(DIGICERT[1], &Outcome::LetIn).await?;
    run.traffic.may_become(DIGICERT[0], &not_pinned);
    run.stage.api_names(&[&new], &[]);
    run.settle(DIGICERT[0], &not_pinned).await?;
    run.end().await
}

async fn unannounced_rotation(run: &mut Run) -> Result<(), Failure> {
    let what = "another DigiCert certificate takes over without notice; its first requests wait for an early refresh";
    if !run.begin("rotation, unannounced", what, None).await? {
        return Ok(());
    }
    let not_pinned = Outcome::denied("not_pinned");
    let new = run.fated.digicert[2].clone();
    run.traffic.may_become(DIGICERT[1], &not_pinned);
    run.stage.api_names(&[&new], &[]);
    // From its very first request it has to get in.
    run.traffic.set_share(DIGICERT[2], 4);
    run.settle(DIGICERT[1], &not_pinned).await?;
    run.end().await
}

async fn revocation(run: &mut Run) -> Result<(), Failure> {
    if !run.begin("revocation list arrives", "one client of the Genesys CA is on it", None).await? {
        return Ok(());
    }
    let revoked = Outcome::denied("revoked");
    for caller in [REVOKED, HARD_REVOKED] {
        run.traffic.may_become(caller, &revoked);
    }
    let leaf = run.fated.revoked.clone();
    run.stage.revoke(&[&leaf]);
    for caller in [REVOKED, HARD_REVOKED] {
        run.settle(caller, &revoked).await?;
    }
    run.end().await
}

async fn reloads(run: &mut Run) -> Result<(), Failure> {
    if !run.begin("a reload every second", "twenty times another policy, by ECDS", None).await? {
        return Ok(());
    }
    for n in 1..=20 {
        let mut policy = policy(&run.stage.world);
        policy["clock_skew"] = json!(format!("{}s", 60 - n % 20));
        run.stage.reload(&policy, None).await?;
        pause(1.0).await;
    }
    run.end().await
}

async fn damaged_pins(run: &mut Run) -> Result<(), Failure> {
    let what = "another module overwrites what workers share of the pins, fifty times";
    if !run.begin("shared pins damaged", what, None).await? {
        return Ok(());
    }
    for _ in 0..50 {
        run.stage.poke("vandal_of_pins").await?;
        pause(0.1).await;
    }
    run.stage.rises("refreshes.ok.us-east-1", 1).await?;
    run.end().await
}

fn unknown(outcome: &Outcome) -> bool {
    *outcome == Outcome::denied("revocation_unknown")
}

async fn damaged_lists(run: &mut Run) -> Result<(), Failure> {
    let what = "another module overwrites what workers share of the revocation lists";
    let stated = "403 `revocation_unknown` until the list has been fetched again";
    if !run.begin("shared lists damaged", what, Some((stated, unknown))).await? {
        return Ok(());
    }
    for vandal in ["vandal_of_lists", "vandal_of_hard_lists"] {
        run.stage.poke(vandal).await?;
    }
    // Known certificates keep their verdict until the list changes, so only new certificates show the damage.
    let leaf = run.fated.revoked.clone();
    let other = trials::cast::by_ca(&run.stage.world).issue();
    run.stage.revoke(&[&leaf, &other]);
    for caller in [FRESH, BY_CA, HARD] {
        run.traffic.may_become(caller, &Outcome::LetIn);
        run.settle(caller, &Outcome::LetIn).await?;
    }
    run.end().await
}

fn crashed(outcome: &Outcome) -> bool {
    // The latter two for what waited for an early refresh.
    [503, 408, 504].map(Outcome::Envoy).contains(outcome)
}

async fn crashes(run: &mut Run) -> Result<(), Failure> {
    let what = "the module is exchanged for one that crashes its VM at every 150th request, and back";
    let stated = "503 for what the VM was at work on when it crashed; what it held ends by the bound on streams (8 s here)";
    if !run.begin("worker VMs crash", what, Some((stated, crashed))).await? {
        return Ok(());
    }
    let module =
        crashing_each(&fs::read(paths::find_wasm_module()?)?, "proxy_on_request_headers", BEFORE_CRASH);
    let file = run.stage.world.write("crashing.wasm", module)?;
    let policy = policy(&run.stage.world);
    run.stage.reload(&policy, Some(&file)).await?;
    let reloaded = |name: &str| name.starts_with("wasm.") && name.ends_with("vm_reload_success");
    let count = run
        .stage
        .envoy
        .wait_for_stats(
            "crashes",
            |stats| {
                let count = stats.iter().filter(|(name, _)| reloaded(name)).map(|(_, n)| n).sum::<u64>();
                (count >= CRASHES).then_some(count)
            },
            // They come with the traffic.
            PATIENCE * 6,
        )
        .await?;
    run.stage.reload(&policy, None).await?;
    run.note(format!("{count} crashes"));
    run.end().await
}

async fn clock(
    run: &mut Run,
    name: &'static str,
    ahead: i64,
    caller: &'static str,
    code: &'static str,
) -> Result<(), Failure> {
    let what = "Envoy's wall clock jumps there and back; the monotonic one goes on";
    if !run.begin(name, what, None).await? {
        return Ok(());
    }
    let turned = Outcome::denied(code);
    run.traffic.may_become(caller, &turned);
    run.stage.clock.set(ahead)?;
    run.settle(caller, &turned).await?;
    run.stage.rises("refreshes.ok.us-east-1", 1).await?;
    run.traffic.may_become(caller, &Outcome::LetIn);
    run.stage.clock.set(0)?;
    run.settle(caller, &Outcome::LetIn).await?;
    run.end().await
}

async fn hot_restart(run: &mut Run) -> Result<(), Failure> {
    let what = "a second Envoy takes over the sockets; the first one drains and ends";
    let stated = "403 `revocation_unknown` where revocation is hard, until the list has arrived; where it is soft, no certificate counts as revoked until then";
    if !run.begin("hot restart", what, Some((stated, unknown))).await? {
        return Ok(());
    }
    // Where it is lenient, a process that has no list yet is blind: documented, and over with the first list.
    let revoked = Outcome::denied("revoked");
    let was_revoked = run.traffic.streak(REVOKED, &revoked) > 0;
    if was_revoked {
        run.traffic.may_become(REVOKED, &Outcome::LetIn);
    }
    run.restart().await?;
    if was_revoked {
        run.settle(REVOKED, &revoked).await?;
    }
    run.stage.envoy.wait_predecessors_gone(PATIENCE).await?;
    run.end().await
}
