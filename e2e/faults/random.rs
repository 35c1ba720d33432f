//! Random kills: twenty pods live side by side, images come and go, and at random instants a daemon, a zygote, a monitor
//! or a container is killed. What is promised to each of them is checked as in the walk; the sum of what is lost must be
//! 0. The seed decides who is killed and when; the machine decides what that hits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join, join_all};
use libtest_mimic::Trial;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::caller::Caller;
use crate::fate::{Fate, Victim};
use crate::harness::registry::Registry;
use crate::harness::results;
use crate::harness::trials;
use crate::lane::Lane;
use crate::life::{Kind, Life};
use crate::names::Names;
use crate::processes::{self, Role, slay};
use crate::world::{left, network_left, world};

pub(crate) fn tests() -> Vec<Trial> {
    trials![nothing_is_lost_when_processes_are_killed_at_random_under_load]
}

/// Pods side by side.
const PODS: usize = 20;
/// Kills, unless `CORACLE_FAULTS_KILLS` says otherwise.
const KILLS: u32 = 25;

/// What all share.
struct Field<'a> {
    lane: &'a Lane,
    fates: Vec<Mutex<Arc<Fate>>>,
    over: AtomicBool,
    lives: AtomicU32,
    losses: Mutex<Vec<String>>,
}

async fn nothing_is_lost_when_processes_are_killed_at_random_under_load() {
    let seed = crate::seed();
    let wanted = std::env::var("CORACLE_FAULTS_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let registry = Registry::start().await;
    let lane = Lane::open("random").await;
    let names = Names::offer(&lane, &registry).await;
    // Directories that the first pod makes for all.
    let first = Life::new(&lane, &Fate::default()).pod(Kind::Plain, &names).await;
    assert!(first.is_empty(), "undisturbed: {first:#?}");
    let before = world(&mut Caller::new(&lane)).await;
    let field = Field {
        lane: &lane,
        fates: (0..PODS).map(|_| Mutex::default()).collect(),
        over: AtomicBool::new(false),
        lives: AtomicU32::new(0),
        losses: Mutex::default(),
    };

    let lives = join_all((0..PODS).map(|number| field.live(number, &names)));
    let (_, kills) = join(lives, field.kill(StdRng::seed_from_u64(seed), wanted)).await;

    let mut losses = field.losses.into_inner().unwrap();
    losses.extend(left(&lane, &before).await);
    losses.extend(network_left().await);
    let (killed, lived) = (kills.values().sum::<u32>(), field.lives.into_inner());
    let by: BTreeMap<String, u32> = kills
        .iter()
        .map(|(v, n)| (format!("{v:?}").to_lowercase(), *n))
        .collect();
    results::write(
        "faults",
        "random",
        json!({"seed": seed, "pods": PODS, "lives": lived, "kills": killed, "by": by, "losses": losses.len()}),
    );
    eprintln!("{killed} kills: {kills:?}, {lived} lives, seed {seed}");
    assert!(
        losses.is_empty(),
        "seed {seed}: {} losses:\n{}",
        losses.len(),
        losses.join("\n")
    );
}

impl Field<'_> {
    /// One life after the other, until it is over.
    async fn live(&self, number: usize, names: &Names) {
        while !self.over.load(Ordering::SeqCst) {
            let fate = Arc::new(Fate::default());
            *self.fates[number].lock().unwrap() = Arc::clone(&fate);
            let life = Life::new(self.lane, &fate);
            let complaints = match number {
                0 => life.images(names).await,
                _ if number % 4 == 1 => life.pod(Kind::Shared, names).await,
                _ => life.pod(Kind::Plain, names).await,
            };
            self.lives.fetch_add(1, Ordering::SeqCst);
            if !complaints.is_empty() {
                let text = format!("life {number}, {fate:?}: {complaints:#?}");
                eprintln!("{text}");
                self.losses.lock().unwrap().push(text);
            }
        }
    }

    /// Kills so many times, and then says that it is over.
    async fn kill(&self, mut random: StdRng, wanted: u32) -> BTreeMap<Victim, u32> {
        let mut kills = BTreeMap::new();
        let mut last = Victim::Worker;
        while kills.values().sum::<u32>() < wanted {
            tokio::time::sleep(Duration::from_millis(random.random_range(50..400))).await;
            let victim = match random.random_range(0..10) {
                0..4 => Victim::Daemon,
                // Twice in a row is once: the second one is hardly born.
                4..6 if last != Victim::Zygote => Victim::Zygote,
                4..8 => Victim::Monitor,
                _ => Victim::Container,
            };
            if self.strike(victim, &mut random).await {
                *kills.entry(victim).or_default() += 1;
                last = victim;
            }
        }
        self.over.store(true, Ordering::SeqCst);
        kills
    }

    async fn strike(&self, victim: Victim, random: &mut StdRng) -> bool {
        let daemon = self.lane.daemon().await;
        match victim {
            Victim::Daemon => {
                drop(daemon);
                self.lane.replace_daemon().await;
                true
            }
            Victim::Zygote => {
                let zygotes = processes::with_role(&daemon.place, Role::Zygote);
                zygotes.iter().for_each(|zygote| slay(zygote.pid));
                !zygotes.is_empty()
            }
            _ => {
                let all = processes::first_processes(&daemon.place);
                if all.is_empty() {
                    return false;
                }
                let chosen = &all[random.random_range(0..all.len())];
                let fates = self.fates.iter().map(|fate| Arc::clone(&fate.lock().unwrap()));
                let Some(fate) = fates.into_iter().find(|fate| chosen.is_in(&fate.cgroup())) else {
                    return false;
                };
                fate.strike(victim);
                slay(if victim == Victim::Monitor {
                    chosen.parent()
                } else {
                    chosen.pid
                });
                true
            }
        }
    }
}
