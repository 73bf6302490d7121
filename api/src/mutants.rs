//! Realistic bugs, compiled in under the feature `mutants` only and chosen one at a time, to show that the simulator
//! finds each. Without the feature [`active`] is a constant and nothing of them is left in the program.

/// Whether this bug is chosen on this thread.
#[cfg(feature = "mutants")]
pub fn active(name: &str) -> bool {
    CHOSEN.with(|chosen| chosen.get() == Some(name))
}

/// Whether this bug is chosen: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn active(_name: &str) -> bool {
    false
}

#[cfg(feature = "mutants")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Chooses a bug for this thread, or none.
#[cfg(feature = "mutants")]
pub fn choose(name: Option<&'static str>) {
    CHOSEN.with(|chosen| chosen.set(name));
}

/// Whether the named bug is put back here.
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::active($name)
    };
}
