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

/// Number of values of a parameter that a thread takes at a time.
pub(super) const PIECE: usize = 16_384;

/// Runs `work` on every piece, the pieces divided among threads, if there are enough to be worth starting them.
pub(super) fn for_each_piece<P: Send>(pieces: &mut [P], threads: usize, work: impl Fn(&mut P) + Sync) {
    let threads = threads.min(pieces.len() / 4).max(1);
    let (own, rest) = pieces.split_at_mut(pieces.len().div_ceil(threads));
    std::thread::scope(|scope| {
        let work = &work;
        for share in rest.chunks_mut(own.len().max(1)) {
            scope.spawn(move || share.iter_mut().for_each(work));
        }
        own.iter_mut().for_each(work);
    });
}

/// Adds the gradients of all threads to those of the first, in their order so that the sum is reproducible.
pub fn add_gradients<'a>(all: impl Iterator<Item = &'a mut Vec<Vec<f32>>>) -> &'a [Vec<f32>] {
    let mut all: Vec<_> = all.collect();
    let threads = all.len();
    let Some((first, rest)) = all.split_first_mut() else { return &[] };
    let mut pieces = Vec::new();
    for (i, gradient) in first.iter_mut().enumerate() {
        pieces.extend(gradient.chunks_mut(PIECE).enumerate().map(|(at, piece)| (i, at * PIECE, piece)));
    }
    for_each_piece(&mut pieces, threads, |(i, at, piece)| {
        for gradients in rest.iter() {
            piece.iter_mut().zip(&gradients[*i][*at..]).for_each(|(sum, &g)| *sum += g);
        }
    });
    all.swap_remove(0)
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
