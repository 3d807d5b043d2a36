//! The registry that processes share: an SQLite file.
//!
//! It has the two tables of the reference, and expects concurrent access by other processes.
//! SQLite blocks while it waits for them, so it runs in its own thread, which ends with the
//! registry. An executor waits for a message only.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, ready};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use crate::net::{Args, Cause, Quoted, Registry, RegistryError};
use crate::os::run::assert_not_simulated;

use crate::lonet::framing::with_context;
use crate::lonet::network_dir;
use crate::lonet::network_dir::NetworkDir;

/// The time to wait for other processes that have locked the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A job on the file, in its thread.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The registry of a network, shared with other processes.
#[derive(Debug)]
pub(crate) struct SqliteRegistry {
    dir: NetworkDir,
    /// To the thread that has the file open; `None` once it is closed.
    jobs: Mutex<Option<Sender<Job>>>,
    /// The addresses of hosts that were looked up. A name is given out once, so that an answer
    /// stays true; but a name that was withdrawn, because its host did not come to be, is removed.
    cache: Mutex<BTreeMap<String, String>>,
}

impl SqliteRegistry {
    /// Opens the registry of a network in the folder of all networks, and makes it if need be.
    ///
    /// Returns it with the network's name, which is a new one for `""`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it lets the thread end as soon as it comes to know.
    pub(crate) async fn open(root: PathBuf, name: &str) -> Result<(Self, String), Cause> {
        let (jobs, job_receiver) = channel();
        let (sender, reported) = oneshot::channel();
        let name = name.to_string();
        spawn_thread(move || run_thread(&root, &name, sender, &job_receiver))?;
        let thread_ended =
            |_| Err(Cause::engine("the thread of the registry ended before it was open"));
        let index = reported.await.unwrap_or_else(thread_ended)?;
        let name = index.name.clone();
        Ok((Self { dir: index, jobs: Mutex::new(Some(jobs)), cache: Mutex::default() }, name))
    }

    /// Has something done; the answer comes from another thread.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Cause> + Send + 'static,
        undo: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Answer<T> {
        let (sender, reported) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            // Whoever has asked may be gone by now: then it is as if they never had.
            if let Err(Ok(_)) = sender.send(work(connection)) {
                undo(connection);
            }
        };
        self.send(Box::new(job));
        reported
    }

    /// Says whether there is a thread to do it.
    fn send(&self, job: Job) -> bool {
        locked(&self.jobs).as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Asks again next time: the host was not where it should be.
    pub(crate) fn evict(&self, hostname: &str) {
        locked(&self.cache).remove(hostname);
    }

    fn error(&self, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
        registry_error(&self.dir.display_path, op, args, cause)
    }
}

/// The answer of the thread; none if the registry is closed.
type Answer<T> = oneshot::Receiver<Result<T, Cause>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn registry_error(path: &Path, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
    let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
    RegistryError { registry: path.display().to_string(), op, args, cause }
}

fn spawn_thread(work: impl FnOnce() + Send + 'static) -> Result<(), Cause> {
    let builder = thread::Builder::new().name("lonet registry".to_string());
    let started = builder.spawn(work).map(drop);
    started.map_err(|error| Cause::engine(with_context("start the thread of the registry", &error)))
}

/// The thread: opens the file, and executes requests until all senders are dropped.
fn run_thread(
    root: &Path,
    name: &str,
    sender: oneshot::Sender<Result<NetworkDir, Cause>>,
    jobs: &Receiver<Job>,
) {
    let opened = network_dir::prepare(root, name).map_err(Cause::engine).and_then(|index| {
        let opened = retry_busy(|| open(&index));
        let to_registry_error = |problem: RegistryProblem| {
            registry_error(&index.display_path, "open", &[], problem.into())
        };
        let connection = opened.map_err(to_registry_error)?;
        Ok((connection, index))
    });
    let (reported, connection) = match opened {
        Ok((connection, index)) => (Ok(index), Some(connection)),
        Err(cause) => (Err(cause), None),
    };
    if sender.send(reported).is_ok()
        && let Some(mut connection) = connection
    {
        jobs.iter().for_each(|job| job(&mut connection));
    }
}

/// Why the file cannot be used.
enum RegistryProblem {
    Sql(rusqlite::Error),
    Message(String),
    /// Of the file as such.
    Io(io::Error),
}

impl From<rusqlite::Error> for RegistryProblem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<RegistryProblem> for Cause {
    fn from(problem: RegistryProblem) -> Self {
        match problem {
            RegistryProblem::Sql(error) => Self::engine(error),
            RegistryProblem::Message(words) => Self::engine(words),
            RegistryProblem::Io(error) => Self::engine(error),
        }
    }
}

/// Tries again while others have the file locked in a way that SQLite itself does not wait for:
/// to switch to a write-ahead log, to recover one, to make one.
fn retry_busy<T>(
    mut attempt: impl FnMut() -> Result<T, RegistryProblem>,
) -> Result<T, RegistryProblem> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let result = attempt();
        let Err(RegistryProblem::Sql(rusqlite::Error::SqliteFailure(error, _))) = &result else {
            return result;
        };
        let busy_codes = [
            ErrorCode::DatabaseBusy,
            ErrorCode::DatabaseLocked,
            ErrorCode::FileLockingProtocolFailed,
            ErrorCode::CannotOpen,
        ];
        if !busy_codes.contains(&error.code) || start.elapsed() > BUSY_TIMEOUT {
            return result;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Opens the file, or makes it; what SQLite has beside it is never a link either.
fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(file, flags)
}

fn open(index: &NetworkDir) -> Result<Connection, RegistryProblem> {
    let network = &index.name;
    let mut connection = connect(&index.database)?;
    // Before there are files beside it: SQLite gives them the same mode.
    network_dir::restrict_to_user(&index.database).map_err(RegistryProblem::Io)?;
    // First of all: the reference does it later, and cannot wait for what comes before.
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // The file outlives processes, and need not outlive the system.
    connection.pragma_update(None, "synchronous", "normal")?;
    // Not one that begins with a look: two who have looked cannot both go on to write.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // The words NON NULL are the reference's own. They mean nothing to SQLite.
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS hosts (
             hostname TEXT NON NULL PRIMARY KEY,
             osladdr  TEXT NON NULL
         );
         CREATE TABLE IF NOT EXISTS meta (
             name  TEXT NON NULL PRIMARY KEY,
             value TEXT NON NULL
         );",
    )?;
    set_up(&transaction, network)?;
    transaction.commit()?;
    Ok(connection)
}

/// Notes what the network is called, or sees that it is the same network.
fn set_up(transaction: &Transaction<'_>, network: &str) -> Result<(), RegistryProblem> {
    let setup_error = |description: &str| {
        RegistryProblem::Message(format!("setup {}: {description}", quoted(network)))
    };
    for (key, name, want) in
        [("schemaver", "schema version", "lonet.1"), ("network", "network name", network)]
    {
        let have = get_meta(transaction, key).map_err(|problem| match problem {
            RegistryProblem::Message(words) => setup_error(&words),
            other => other,
        })?;
        if have.is_empty() {
            transaction.execute("DELETE FROM meta WHERE name = ?", [key])?;
            transaction.execute("INSERT INTO meta (name, value) VALUES (?, ?)", [key, want])?;
        } else if have != want {
            let (want, have) = (quoted(want), quoted(&have));
            return Err(setup_error(&format!("{name} mismatch: want {want}; have {have}")));
        }
    }
    Ok(())
}

fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text.as_bytes())
}

/// Gives what the network has noted of itself; nothing if it has not.
fn get_meta(transaction: &Transaction<'_>, key: &str) -> Result<String, RegistryProblem> {
    let values = select_column(transaction, "SELECT value FROM meta WHERE name = ?", key)?;
    match values.as_slice() {
        [] => Ok(String::new()),
        [value] => Ok(value.clone()),
        _ => {
            let key = quoted(key);
            Err(RegistryProblem::Message(format!("config: get {key}: query: multiple results")))
        }
    }
}

/// Gives the texts in one column, of at most two rows.
fn select_column(connection: &Connection, sql: &str, key: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(sql)?;
    let text = |row: &rusqlite::Row<'_>| Ok(row.get::<_, Option<String>>(0)?.unwrap_or_default());
    statement.query_map([key], text)?.take(2).collect()
}

fn query(connection: &Connection, hostname: &str) -> Result<String, Cause> {
    let rows = select_column(connection, "SELECT osladdr FROM hosts WHERE hostname = ?", hostname);
    match rows.map_err(Cause::engine)?.as_slice() {
        [] => Err(Cause::NoSuchHost),
        [osladdr] => Ok(osladdr.clone()),
        _ => Err(Cause::engine("registry broken: duplicate host entries")),
    }
}

fn announce(connection: &mut Connection, hostname: &str, osladdr: &str) -> Result<(), Cause> {
    match insert(connection, hostname, osladdr) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Cause::HostExists),
        Err(error) => Err(Cause::engine(error)),
    }
}

/// Adds a host. Returns false if the name is taken.
fn insert(connection: &mut Connection, hostname: &str, osladdr: &str) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked, and not left to the key: the table may have been made by others, without one.
    let taken = transaction
        .query_row("SELECT 1 FROM hosts WHERE hostname = ?", [hostname], |_| Ok(()))
        .optional()?;
    if taken.is_none() {
        let row = params![hostname, osladdr];
        transaction.execute("INSERT INTO hosts (hostname, osladdr) VALUES (?, ?)", row)?;
        transaction.commit()?;
    }
    Ok(taken.is_none())
}

fn withdraw(connection: &mut Connection, hostname: &str) {
    // If that fails the name stays taken, as that of a process that died.
    let _ = connection.execute("DELETE FROM hosts WHERE hostname = ?", [hostname]);
}

impl Registry for SqliteRegistry {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        let (name, osladdr) = (hostname.to_string(), hostdata.to_string());
        let undo_name = hostname.to_string();
        let answer = self.submit(
            move |connection| announce(connection, &name, &osladdr),
            move |connection| withdraw(connection, &undo_name),
        );
        let future = AnnounceFuture { registry: self, hostname, answer: Some(answer) };
        let args = [hostname, hostdata];
        async move { future.await.map_err(|cause| self.error("announce", &args, cause)) }.boxed()
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        // Here a dial begins, and the thread that answers is none of a run's.
        assert_not_simulated("lonet", "processes");
        if locked(&self.jobs).is_some()
            && let Some(osladdr) = locked(&self.cache).get(hostname)
        {
            return ready(Ok(osladdr.clone())).boxed();
        }
        let name = hostname.to_string();
        let answer = self.submit(move |connection| query(connection, &name), |_| ());
        let down = |_| Err(Cause::RegistryDown);
        async move {
            let osladdr = answer.await.unwrap_or_else(down);
            let osladdr = osladdr.map_err(|cause| self.error("query", &[hostname], cause))?;
            locked(&self.cache).insert(hostname.to_string(), osladdr.clone());
            Ok(osladdr)
        }
        .boxed()
    }

    fn withdraw(&self, hostname: &str) {
        let name = hostname.to_string();
        if self.send(Box::new(move |connection| withdraw(connection, &name))) {
            return;
        }
        // The network was closed in the middle of making a host.
        let (database, name) = (self.dir.database.clone(), hostname.to_string());
        let _ = spawn_thread(move || {
            if let Ok(mut connection) = connect(&database)
                && connection.busy_timeout(BUSY_TIMEOUT).is_ok()
            {
                withdraw(&mut connection, &name);
            }
        });
    }

    fn close(&self) -> Result<(), RegistryError> {
        *locked(&self.jobs) = None;
        Ok(())
    }
}

/// A name that is being announced. It is given back if the future is dropped before.
struct AnnounceFuture<'a> {
    registry: &'a SqliteRegistry,
    hostname: &'a str,
    answer: Option<Answer<()>>,
}

impl Future for AnnounceFuture<'_> {
    type Output = Result<(), Cause>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(Cause::RegistryDown)) };
        let polled = answer.poll_unpin(cx);
        if polled.is_ready() {
            self.answer = None;
        }
        polled.map(|answer| answer.unwrap_or(Err(Cause::RegistryDown)))
    }
}

impl Drop for AnnounceFuture<'_> {
    fn drop(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        // From here on the thread undoes it by itself; it may have said yes before.
        answer.close();
        if let Ok(Some(Ok(()))) = answer.try_recv() {
            self.registry.withdraw(self.hostname);
        }
    }
}
