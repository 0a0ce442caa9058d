//! Tasks with a name that never die in silence. May import tokio and tracing.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::task::JoinHandle;

use crate::Shutdown;

/// Spawns a task; should it panic, that is logged as an error with the task's name. The handle behaves
/// as that of `tokio::spawn`.
pub fn spawn_named<F>(name: impl Into<String>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    watch(name.into(), None, future)
}

/// Spawns a task that the process cannot live without: should it panic, the process is asked to end
/// (see [`Shutdown::fail`]).
pub fn spawn_critical<F>(
    name: impl Into<String>,
    shutdown: &Shutdown,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    watch(name.into(), Some(shutdown.clone()), future)
}

fn watch<F>(name: String, critical: Option<Shutdown>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        // Nothing of the future is looked at again: the panic goes on after it was logged.
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => output,
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                tracing::error!(
                    task = name,
                    reason = message,
                    "a task panicked; this is a bug"
                );
                if let Some(shutdown) = critical {
                    shutdown.fail(format!("task {name} panicked: {message}"));
                }
                std::panic::resume_unwind(panic)
            }
        }
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_output_of_a_task_comes_back() {
        assert_eq!(spawn_named("sum", async { 1 + 1 }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_critical_task_that_panics_ends_the_process_with_the_reason() {
        let shutdown = Shutdown::new();
        let task = spawn_critical("journal", &shutdown, async {
            panic!("lost {}", "the file")
        });
        assert!(task.await.unwrap_err().is_panic());
        shutdown.requested().await;
        assert_eq!(
            shutdown.failure(),
            Some("task journal panicked: lost the file")
        );
    }

    #[tokio::test]
    async fn a_named_task_that_panics_leaves_the_process_alone() {
        let task = spawn_named("helper", async { panic!("no") });
        assert!(task.await.unwrap_err().is_panic());
    }
}
