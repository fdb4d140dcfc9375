//! A load: honest members work while a crowd holds sockets half open, does not read, and pushes without end.
//! The server is a process of its own; everything here is bounded in number and time.

pub mod crowd;
pub mod member;
pub mod options;
pub mod report;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use crdt_core::id::MemberId;
use sync_server::admin;
use sync_server::config::ServerConfig;
use sync_server::token::TokenKey;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::real_server::{RealServer, WORKSPACE};
use crowd::{Half, Tally};
use member::{Member, Route};
use options::Options;
use report::{Measured, Memory, Report};

/// Devices that do not read and belong to one member.
const DEAF_PER_MEMBER: usize = 50;
/// Half-open sockets of one address.
const HALF_OPEN_PER_ADDRESS: usize = 1_000;
/// Records that are there before, and characters in each: more than one page, so that somebody who does not
/// read has something not to read.
const RECORDS: usize = 3_000;
const RECORD_CHARS: usize = 190;
/// How long the crowd may take to gather.
const GATHERING: Duration = Duration::from_secs(120);
/// How long the flooders may take to use up what they may send at once.
const SPENDING: Duration = Duration::from_secs(600);

/// A server with its members, and the addresses that they come from.
struct Stage {
    server: RealServer,
    key: TokenKey,
    config: ServerConfig,
}

/// Runs a load against a server that is started for it.
///
/// # Errors
/// When the server does not start, or an honest member is not served.
pub fn run(options: &Options) -> Result<Report> {
    let mut stage = Stage::prepare(options)?;
    stage.server.start_quietly();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(stage.play(options));
    // Whatever still runs is cut, and not waited for.
    runtime.shutdown_background();
    report
}

impl Stage {
    fn prepare(options: &Options) -> Result<Self> {
        let server = options
            .settings
            .iter()
            .fold(RealServer::create(), |server, (name, value)| server.with(name, value));
        let config = ServerConfig { data_dir: server.data().to_owned(), ..ServerConfig::default() };
        let honest = (0..options.honest).map(|n| format!("honest {n}"));
        let flooders = (0..options.flooders).map(|n| format!("flooder {n}"));
        let deaf = (0..options.deaf.div_ceil(DEAF_PER_MEMBER)).map(|n| format!("deaf {n}"));
        for name in honest.chain(flooders).chain(deaf).chain(["importer".to_owned()]) {
            admin::add_member(&config, WORKSPACE, &name, Some(id_of(&name)))?;
        }
        let key = TokenKey::open_or_create(&config.token_key())?;
        Ok(Self { server, key, config })
    }

    fn member(&self, name: &str) -> Member {
        let now = sync_server::clock::now();
        let token = self.key.mint(WORKSPACE, id_of(name), now, Duration::from_secs(3_600));
        Member::new(id_of(name), token)
    }

    fn route(&self, from: Ipv4Addr) -> Route {
        Route { server: self.server.address(), from, receive_buffer: None }
    }

    async fn play(&self, options: &Options) -> Result<Report> {
        self.import().await.context("the records cannot be imported")?;
        let mut honest: Vec<Member> =
            (0..options.honest).map(|n| self.member(&format!("honest {n}"))).collect();
        // The first round is for nobody's figures: files, pages and threads are warm after it.
        self.work(&mut honest, &options.once()).await.context("before anything")?;
        let pid = self.server.pid().context("the server runs")?;
        let memory_before = Memory::of(pid)?;
        let quiet = self.work(&mut honest, options).await.context("while it is quiet")?;
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::default());
        let mut crowd = self.gather(options, &tally, &stopped);
        let gathered = self.until_gathered(options, &tally).await;
        let loaded = match gathered {
            Ok(()) => self.work(&mut honest, options).await.context("among the crowd"),
            Err(error) => Err(error),
        };
        let spent = match &loaded {
            Ok(_) if options.spent => {
                self.until_spent(options, &tally).await?;
                Some(self.work(&mut honest, options).await.context("once the crowd is slowed")?)
            }
            _ => None,
        };
        let memory = Memory::of(pid)?;
        let open = (
            tally.half_open.load(Ordering::Relaxed),
            tally.deaf.load(Ordering::Relaxed),
            tally.flooders.load(Ordering::Relaxed),
        );
        stop.send_replace(true);
        crowd.shutdown().await;
        Ok(Report {
            options: options.clone(),
            limits: self.config.limits.clone(),
            quiet,
            loaded: loaded?,
            spent,
            memory_before,
            memory,
            open,
            tally,
        })
    }

    /// Fills the workspace.
    async fn import(&self) -> Result<()> {
        let mut importer = self.member("importer");
        let (mut line, _) = importer.connect(self.route(Ipv4Addr::LOCALHOST)).await?;
        let mut answered = 0;
        while answered < RECORDS {
            importer.send_records(&mut line, 10, RECORD_CHARS).await?;
            let target = answered + 10;
            while answered < target {
                answered += importer.receipts(&mut line).await?.len();
            }
        }
        Ok(())
    }

    /// Lets every honest member connect and push, over and over, all at the same time.
    async fn work(&self, honest: &mut Vec<Member>, options: &Options) -> Result<Measured> {
        let route = self.route(Ipv4Addr::LOCALHOST);
        let mut working = JoinSet::new();
        for member in honest.drain(..) {
            working.spawn(workday(member, route, options.clone()));
        }
        let mut measured = Measured::default();
        while let Some(done) = working.join_next().await {
            let (member, own) = done??;
            honest.push(member);
            measured.add(own);
        }
        Ok(measured.sorted())
    }

    fn gather(&self, options: &Options, tally: &Arc<Tally>, stop: &crowd::Stop) -> JoinSet<()> {
        let mut crowd = JoinSet::new();
        for n in 0..options.half_open {
            let half = [Half::Silent, Half::Headers, Half::NoHello][n % 3];
            let route = self.route(address(1, n / HALF_OPEN_PER_ADDRESS));
            crowd.spawn(crowd::half_open(route, half, Arc::clone(tally), stop.clone()));
        }
        for n in 0..options.deaf {
            let member = self.member(&format!("deaf {}", n / DEAF_PER_MEMBER));
            let mut route = self.route(address(2, n / DEAF_PER_MEMBER));
            route.receive_buffer = Some(4 * 1024);
            crowd.spawn(crowd::deaf(member, route, Arc::clone(tally), stop.clone()));
        }
        for n in 0..options.flooders {
            let member = self.member(&format!("flooder {n}"));
            let route = self.route(address(3, n));
            crowd.spawn(crowd::flooder(member, route, Arc::clone(tally), stop.clone()));
        }
        crowd
    }

    /// Waits until everybody has come at least once.
    async fn until_gathered(&self, options: &Options, tally: &Tally) -> Result<()> {
        let begun = Instant::now();
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            let seen = |now: &std::sync::atomic::AtomicU64, cut: &std::sync::atomic::AtomicU64| {
                now.load(Ordering::Relaxed) + cut.load(Ordering::Relaxed)
            };
            let come = [
                seen(&tally.half_open, &tally.half_open_cut) >= options.half_open as u64,
                seen(&tally.deaf, &tally.deaf_cut) >= options.deaf as u64,
                seen(&tally.flooders, &tally.flooders_cut) >= options.flooders as u64,
            ];
            if come == [true; 3] {
                return Ok(());
            }
            ensure!(begun.elapsed() < GATHERING, "the crowd does not gather: {tally:?}");
        }
    }

    /// Waits until every flooder has sent more than a member may send at once.
    async fn until_spent(&self, options: &Options, tally: &Tally) -> Result<()> {
        let begun = Instant::now();
        let each = sync_server::quotas::burst(&self.config.limits);
        let all = options.flooders as u64 * u64::from(each);
        while tally.flooded.load(Ordering::Relaxed) < all {
            ensure!(begun.elapsed() < SPENDING, "the flooders have not sent {all}: {tally:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

/// One honest member's work.
async fn workday(mut member: Member, route: Route, options: Options) -> Result<(Member, Measured)> {
    let mut measured = Measured::default();
    for _ in 0..options.rounds {
        let (mut line, took) = member.connect(route).await?;
        measured.connects.push(took);
        for _ in 0..options.pushes {
            member.read_for(&mut line, options.pace).await?;
            measured.pushes.push(member.push(&mut line).await?);
        }
    }
    Ok((member, measured))
}

fn id_of(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}

/// The address of one of a crowd.
fn address(crowd: u8, n: usize) -> Ipv4Addr {
    let n = u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(127, crowd, n[0], n[1].saturating_add(1))
}
