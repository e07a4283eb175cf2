//! Calls without a pause while something changes.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use testbed::World;
use tokio::task::JoinHandle;

use crate::{
    calls::{ask, client},
    common::Failure,
    istio::Mesh,
    kubelet::Pod,
    network::{PODS, pod},
};

const CALLERS: [(&str, &str); 4] = [
    ("genesys", "200"),
    ("pinned", "200"),
    ("email", "403 wrong_name"),
    ("none", "403 no_client_certificate"),
];

#[derive(Debug)]
pub struct Load {
    running: Arc<AtomicBool>,
    pods: Arc<Mutex<Vec<Ipv4Addr>>>,
    tasks: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    /// Of each kind of caller one after the other, to these pods in turn.
    pub async fn start(world: &World, pods: &[Ipv4Addr]) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let pods = Arc::new(Mutex::new(pods.to_vec()));
        let tasks = CALLERS.map(|(who, expected)| {
            let (running, pods) = (running.clone(), pods.clone());
            let clients: BTreeMap<_, _> =
                PODS.iter().map(|(_, pod)| (*pod, client(world, *pod, 443, who))).collect();
            tokio::spawn(async move {
                let (mut calls, mut wrong) = (0, Vec::new());
                while running.load(Ordering::Relaxed) {
                    let pod = {
                        let pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
                        pods[calls % pods.len()]
                    };
                    calls += 1;
                    let got = ask(clients[&pod].clone()).await;
                    if got != expected {
                        wrong.push(format!("{who} at {pod}: {got}"));
                    }
                }
                (calls, wrong)
            })
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self { running, pods, tasks: tasks.into() }
    }

    /// What a load balancer knows from now on.
    pub fn send_to(&self, pods: &[Ipv4Addr]) {
        *self.pods.lock().unwrap_or_else(PoisonError::into_inner) = pods.to_vec();
    }

    /// How many calls there were, and what was answered otherwise.
    pub async fn end(self) -> Result<(usize, Vec<String>), Failure> {
        self.running.store(false, Ordering::Relaxed);
        let (mut calls, mut wrong) = (0, Vec::new());
        for task in self.tasks {
            let (made, odd) = task.await?;
            calls += made;
            wrong.extend(odd);
        }
        Ok((calls, wrong))
    }
}

impl Mesh {
    /// A change of the chart's values under load.
    pub async fn under_traffic(&mut self, what: &str, values: &serde_json::Value) -> Result<(), Failure> {
        let load = Load::start(&self.world, &[pod("own")]).await;
        self.install(values)?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let (calls, wrong) = load.end().await?;
        self.report.row(format!("{what}: of {calls} calls answered otherwise"), &wrong, &Vec::new());
        Ok(())
    }

    /// A second pod, and then a third in the place of the first: as Kubernetes does it, traffic comes once a pod is ready, and one that
    /// ends gets none any more. With today's pin in the values a fresh pod needs no API.
    pub async fn scale_and_restart(&mut self, first: Pod) -> Result<Pod, Failure> {
        let load = Load::start(&self.world, &[pod("own")]).await;
        let second = self.start("genesys-ingress", "more")?;
        load.send_to(&[pod("own"), pod("more")]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        load.send_to(&[pod("more")]);
        first.end()?;
        let third = self.start("genesys-ingress", "own")?;
        load.send_to(&[pod("own"), pod("more")]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        load.send_to(&[pod("own")]);
        second.end()?;
        let (calls, wrong) = load.end().await?;
        self.report.row(
            format!("scale-up, rolling restart: of {calls} calls answered otherwise"),
            &wrong,
            &Vec::new(),
        );
        Ok(third)
    }
}
