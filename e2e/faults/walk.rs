//! The walk: at every step point, and for every process that may die there, one life goes to that point, the process is
//! killed, the caller repeats its call, and the life goes on to its end. Nothing may be lost, invented or left.
//!
//! The points come from the table that the sources are held to, and a point that no life reaches is a failure: the walk
//! is exhaustive by construction. `CORACLE_FAULTS_POINT` walks one point alone.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle::sys::step::POINTS;
use coracle::sys::step::board::Action;
use futures_util::future::join;
use libtest_mimic::Trial;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde_json::json;

use crate::alone::Alone;
use crate::caller::Caller;
use crate::fate::{Fate, Victim};
use crate::harness::registry::Registry;
use crate::harness::results;
use crate::harness::trials;
use crate::lane::Lane;
use crate::life::{Kind, Life};
use crate::names::Names;
use crate::processes::{self, Role, slay};
use crate::world::{World, left, network_left, world};

pub(crate) fn tests() -> Vec<Trial> {
    trials![nothing_is_lost_or_left_wherever_a_process_is_killed]
}

/// Lanes side by side.
const LANES: usize = 2;
/// Passes of one point that are walked, unless all are asked for.
const PASSES: u32 = 3;

/// What a case lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Course {
    Pod(Kind),
    /// A container without a pod, by the reduced API.
    Alone,
    Images,
    /// A pod whose daemon is killed while its network is attached: what the next daemon makes of that. Of the other points
    /// it passes none is walked on it.
    Interrupted,
}

const COURSES: [Course; 5] = [
    Course::Pod(Kind::Plain),
    Course::Pod(Kind::Shared),
    Course::Alone,
    Course::Images,
    Course::Interrupted,
];

/// Points that no call leads to on every machine: scopes are systemd's, profiles AppArmor's, and labels
/// SELinux's. Those of `coracle node`
/// are not listed: their own test kills at each.
const ELSEWHERE: [&str; 6] = [
    "apparmor.load",
    "create.label",
    "create.scope",
    "teardown.scope",
    "update.scope",
    "zygote.placeholder",
];

/// One thing to try.
#[derive(Clone, Copy, Debug)]
struct Case {
    point: &'static str,
    pass: u32,
    victim: Victim,
    course: Course,
}

/// What came of the cases.
#[derive(Default)]
struct Tally {
    walked: BTreeMap<&'static str, u32>,
    kills: BTreeMap<Victim, u32>,
    /// The victim was not there, or the point was not passed again.
    void: u32,
    losses: Vec<String>,
}

async fn nothing_is_lost_or_left_wherever_a_process_is_killed() {
    let long = std::env::var_os("CORACLE_FAULTS_LONG").is_some();
    let seed = crate::seed();
    let registry = Registry::start().await;
    let tally = Mutex::new(Tally::default());
    let first = Walker::open(&registry).await;
    let passes = first.survey().await;
    let mut cases = cases(&passes, long);
    assert!(
        !cases.is_empty(),
        "the build has no step points, or there is no such one"
    );
    // In another order each time: a case must not depend on the one before.
    cases.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
    eprintln!("walking {} cases, seed {seed}", cases.len());
    let next = AtomicUsize::new(0);
    let mut walkers = vec![first];
    for _ in 1..LANES {
        walkers.push(Walker::open(&registry).await);
    }
    let walks = walkers.into_iter().map(|mut walker| {
        let (next, cases, tally) = (&next, &cases, &tally);
        async move {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                walker.walk(*case, tally).await;
            }
        }
    });
    futures_util::future::join_all(walks).await;
    let mut tally = tally.into_inner().unwrap();
    tally.losses.extend(network_left().await);
    report(&tally, seed, long);
}

fn report(tally: &Tally, seed: u64, long: bool) {
    let never: Vec<_> = POINTS
        .iter()
        .filter(|point| {
            !tally.walked.contains_key(*point) && !ELSEWHERE.contains(*point) && !point.starts_with("node.")
        })
        .collect();
    let kills: u32 = tally.kills.values().sum();
    let by: BTreeMap<String, u32> = tally
        .kills
        .iter()
        .map(|(v, n)| (format!("{v:?}").to_lowercase(), *n))
        .collect();
    results::write(
        "faults",
        "walk",
        json!({
            "seed": seed, "long": long, "points": tally.walked.len(), "of": POINTS.len(), "kills": kills,
            "by": by, "void": tally.void, "losses": tally.losses.len(),
        }),
    );
    eprintln!(
        "{} points, kills: {:?}, {} void",
        tally.walked.len(),
        tally.kills,
        tally.void
    );
    assert!(
        tally.losses.is_empty(),
        "seed {seed}: {} losses:\n{}",
        tally.losses.len(),
        tally.losses.join("\n")
    );
    if std::env::var_os("CORACLE_FAULTS_POINT").is_none() {
        assert!(never.is_empty(), "no operation reaches {never:?}");
    }
}

/// The cases for points that are passed so often.
fn cases(passes: &BTreeMap<Course, BTreeMap<&'static str, u32>>, long: bool) -> Vec<Case> {
    let only = std::env::var("CORACLE_FAULTS_POINT").ok();
    let mut cases = vec![];
    for point in POINTS
        .iter()
        .copied()
        .filter(|point| only.as_deref().is_none_or(|only| only == *point))
    {
        for course in COURSES {
            let passed = passes[&course].get(point).copied().unwrap_or(0);
            let known = COURSES
                .iter()
                .take_while(|c| **c != course)
                .any(|c| passes[c].contains_key(point));
            // A point of several courses is walked on the first of them, in the short form.
            if passed == 0 || known && (!long || course == Course::Interrupted) {
                continue;
            }
            let most = if long { 40 } else { PASSES };
            for pass in 1..=passed.min(most) {
                let victims = victims(point, course);
                let victims = victims
                    .iter()
                    .copied()
                    .filter(|v| *v == Victim::Daemon || pass == 1 || long);
                cases.extend(victims.map(|victim| Case {
                    point,
                    pass,
                    victim,
                    course,
                }));
            }
        }
    }
    cases
}

fn victims(point: &str, course: Course) -> &'static [Victim] {
    let worker = ["worker.", "zygote.pinned", "zygote.reaper"]
        .iter()
        .any(|begins| point.starts_with(begins));
    match course {
        Course::Images | Course::Alone | Course::Interrupted => &[Victim::Daemon],
        Course::Pod(_) if worker => &[
            Victim::Daemon,
            Victim::Zygote,
            Victim::Monitor,
            Victim::Container,
            Victim::Worker,
        ],
        Course::Pod(_) => &[Victim::Daemon, Victim::Zygote, Victim::Monitor, Victim::Container],
    }
}

/// A lane, and what it looked like before anything.
struct Walker {
    lane: Lane,
    names: Names,
    before: World,
}

impl Walker {
    async fn open(registry: &Registry) -> Walker {
        let lane = Lane::open("walk").await;
        let names = Names::offer(&lane, registry).await;
        let mut walker = Walker {
            before: World::new(),
            lane,
            names,
        };
        // Directories that the first pod makes for all.
        let undisturbed = walker.live(COURSES[0], &Fate::default()).await;
        assert!(undisturbed.is_empty(), "undisturbed: {undisturbed:#?}");
        walker.before = world(&mut Caller::new(&walker.lane)).await;
        walker
    }

    /// Lives every course once, undisturbed, and counts how often each passes each point.
    async fn survey(&self) -> BTreeMap<Course, BTreeMap<&'static str, u32>> {
        let mut all = BTreeMap::new();
        for course in COURSES {
            let before = self.lane.board.passes();
            let complaints = self.live(course, &Fate::default()).await;
            assert!(complaints.is_empty(), "undisturbed: {complaints:#?}");
            // Starting a zygote is part of what its successor does.
            let passes = self.lane.board.passes().into_iter().zip(before);
            let passed = passes.filter_map(|((point, now), (_, before))| {
                let starts = course == COURSES[0] && matches!(point, "zygote.begin" | "zygote.ready");
                let count = if starts { 1 } else { now - before };
                (count > 0).then_some((point, count))
            });
            all.insert(course, passed.collect());
        }
        all
    }

    async fn live(&self, course: Course, fate: &Fate) -> Vec<String> {
        let life = Life::new(&self.lane, fate);
        match course {
            Course::Pod(kind) => life.pod(kind, &self.names).await,
            Course::Alone => Alone::new(&self.lane).live().await,
            Course::Images => life.images(&self.names).await,
            Course::Interrupted => {
                let (mut complaints, ()) = join(life.pod(Kind::Plain, &self.names), self.interrupt()).await;
                // What the network is owed is paid after a pause.
                complaints.extend(left(&self.lane, &self.before).await);
                complaints
            }
        }
    }

    /// Kills the daemon when it has begun to attach a network.
    async fn interrupt(&self) {
        let daemon = self.lane.daemon().await.pid();
        while !processes::has_plugin(daemon) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.lane.replace_daemon().await;
    }

    async fn walk(&mut self, case: Case, tally: &Mutex<Tally>) {
        let fate = Fate::default();
        if matches!(case.point, "zygote.begin" | "zygote.ready") {
            self.end_zygote().await;
        }
        self.lane.board.arm(case.point, case.pass, Action::Hold);
        let limit = Duration::from_secs(120);
        let mut losses = match tokio::time::timeout(limit, self.struck(case, &fate)).await {
            Ok(complaints) => complaints,
            Err(_) => vec!["it hangs".to_owned()],
        };
        self.lane.board.disarm();
        losses.extend(self.leaks().await);
        let mut tally = tally.lock().unwrap();
        if fate.struck() {
            *tally.walked.entry(case.point).or_default() += 1;
            *tally.kills.entry(case.victim).or_default() += 1;
        } else {
            tally.void += 1;
            // Reached all the same, if nobody was there to be killed.
            if self.lane.board.hit().is_some() {
                tally.walked.entry(case.point).or_default();
            }
        }
        if !losses.is_empty() {
            eprintln!("{case:?}: {losses:#?}");
            tally.losses.push(format!("{case:?}: {losses:#?}"));
        }
    }

    /// Lives, and kills at the point.
    async fn struck(&self, case: Case, fate: &Fate) -> Vec<String> {
        let live = self.live(case.course, fate);
        let strike = self.strike(case, fate);
        tokio::pin!(live, strike);
        tokio::select! {
            complaints = &mut live => {
                // Work in the background may have been hit last.
                if self.lane.board.hit().is_some() {
                    strike.await;
                }
                complaints
            }
            () = &mut strike => live.await,
        }
    }

    async fn end_zygote(&self) {
        let daemon = self.lane.daemon().await;
        for zygote in processes::with_role(&daemon.place, Role::Zygote) {
            slay(zygote.pid);
            while !processes::is_dead(zygote.pid) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Waits for the point to be reached, and kills. Returns when the daemon of the moment serves.
    async fn strike(&self, case: Case, fate: &Fate) {
        let hit = loop {
            if let Some(hit) = self.lane.board.hit() {
                break hit;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let daemon = self.lane.daemon().await;
        let pids: Vec<i32> = match case.victim {
            Victim::Daemon => vec![daemon.pid()],
            Victim::Zygote => pids(processes::with_role(&daemon.place, Role::Zygote)),
            Victim::Monitor => pids(processes::with_role(&daemon.place, Role::Monitor)),
            Victim::Container => pids(processes::first_processes(&daemon.place)),
            Victim::Worker => vec![hit],
        };
        drop(daemon);
        if !pids.is_empty() {
            fate.strike(case.victim);
        }
        if case.victim == Victim::Daemon {
            return self.lane.replace_daemon().await;
        }
        pids.into_iter().for_each(slay);
        self.lane.board.release();
    }

    /// What is there now and was not before; told once it has had time to go.
    async fn leaks(&mut self) -> Vec<String> {
        let leaks = left(&self.lane, &self.before).await;
        if !leaks.is_empty() {
            // The next case starts from here.
            self.before = world(&mut Caller::new(&self.lane)).await;
        }
        leaks
    }
}

fn pids(processes: Vec<processes::Process>) -> Vec<i32> {
    processes.into_iter().map(|process| process.pid).collect()
}
