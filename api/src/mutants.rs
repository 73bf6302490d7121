//! Realistic bugs, put back to show that tests find them. Under the feature `mutants` one at a time is chosen for a thread, by
//! the simulator. Programs with debug assertions, which end-to-end tests run, read theirs from the environment:
//! `MEZZO_MUTANTS=<name>,<name>`. In programs that are built for use [`active`] is a constant and nothing of them is left.

/// Whether this bug is chosen on this thread.
#[cfg(feature = "mutants")]
pub fn active(name: &str) -> bool {
    CHOSEN.with(|chosen| chosen.get() == Some(name))
}

/// Whether this bug is chosen for this process.
#[cfg(all(not(feature = "mutants"), debug_assertions))]
pub fn active(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("MEZZO_MUTANTS").ok());
    chosen.as_deref().is_some_and(|chosen| chosen.split(',').any(|one| one == name))
}

/// Whether this bug is chosen: never, in this build.
#[cfg(not(any(feature = "mutants", debug_assertions)))]
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
