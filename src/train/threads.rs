//! Distribution of work to threads.

use std::any::Any;

use crate::error::{Error, Result, Stage};

/// Runs `work` on every item, each in its own thread; the results are in the order of the items.
///
/// # Errors
/// When a thread panics; the results of the others are then discarded, because a part is missing.
pub(super) fn in_threads<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        // Join all threads, because the scope would propagate the panic of a thread that was not joined.
        let results: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        results.into_iter().map(|result| result.map_err(|panic| panicked(&*panic))).collect()
    })
}

/// Adds the gradients of all threads to those of the first, in their order so that the sum is reproducible.
pub(super) fn add_gradients<'a>(mut all: impl Iterator<Item = &'a mut Vec<Vec<f32>>>) -> &'a [Vec<f32>] {
    let Some(first) = all.next() else { return &[] };
    for gradients in all {
        for (sum, own) in first.iter_mut().zip(&*gradients) {
            sum.iter_mut().zip(own).for_each(|(s, &g)| *s += g);
        }
    }
    first
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().map(String::from);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(Stage::Train, format!("a thread of the training failed: {text}"))
        .hint("this is a bug in hearken; the checkpoint was not changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_a_panic_is_an_error() {
        assert_eq!(in_threads(1..=3, |n| 10 * n).expect("no panic"), [10, 20, 30]);
        let error = in_threads(1..=3, |n| {
            assert!(n != 2, "share {n} is lost");
            n
        });
        let text = error.expect_err("a thread panicked").to_string();
        assert!(text.contains("share 2 is lost"), "{text}");
    }
}
