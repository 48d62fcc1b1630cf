//! Random numbers for IDs: unlike any other, but no secret.

use std::cell::Cell;

use ring::rand::{SecureRandom, SystemRandom};

/// Numbers of which any value is as likely as any other.
///
/// xoroshiro128++ of Blackman and Vigna, for each thread by itself: a few instructions, and a state so
/// large that no two threads or instances come upon the same one.
pub(super) fn random<const N: usize>() -> [u64; N] {
    thread_local! {
        static STATE: Cell<[u64; 2]> = Cell::new(seed());
    }
    STATE.with(|state| {
        let [mut a, mut b] = state.get();
        let numbers = std::array::from_fn(|_| {
            let sum = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
            b ^= a;
            (a, b) = (a.rotate_left(49) ^ b ^ (b << 21), b.rotate_left(28));
            sum
        });
        state.set([a, b]);
        numbers
    })
}

fn seed() -> [u64; 2] {
    let mut bytes = [0; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // A system without randomness: the time and the place are unlike others, too.
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let place = (&raw const bytes).addr() as u128;
        bytes = (since.as_nanos() ^ place << 64).to_ne_bytes();
    }
    let state = u128::from_ne_bytes(bytes).max(1);
    [state as u64, (state >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_are_the_same_in_all_threads() {
        let draw = || (0..500).flat_map(|_| random::<2>()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let drawn = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        let all: HashSet<_> = drawn.collect();
        assert_eq!(all.len(), 4000);
        let ones: u32 = all.iter().map(|number| number.count_ones()).sum();
        assert!((124_000..132_000).contains(&ones), "{ones} bits of 256000");
    }
}
