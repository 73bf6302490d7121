//! What must never be false, one file each, looked at after every step; and what must be true once all faults are
//! over.

mod acknowledgements;
mod answers;
mod books;
mod drains;
mod exits;
mod failover;
mod groups;
mod launches;
mod leaders;
mod lifecycle;
mod limits;
mod liveness;
mod operations;
mod pace;
mod quotas;
mod registry_first;
mod resources;
mod returns;
mod silence;
mod terms;
mod volumes;
mod whitelist;
mod wishes;

pub use books::Books;

use crate::{coverage::Coverage, fact::Fact, plan::Plan, world::World};

/// Something that must never be false.
pub trait Invariant {
    /// Its name, as failures and mutants name it.
    fn name(&self) -> &'static str;

    /// Looks at one fact, after the step in which it happened; `books` are as they were before the fact.
    ///
    /// # Errors
    /// What is wrong, if something is.
    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String>;

    /// Looks at the cluster at the end of the run.
    ///
    /// # Errors
    /// What is wrong, if something is.
    fn finish(&mut self, _books: &Books, _world: &World) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
pub struct Watchers {
    books: Books,
    list: Vec<Box<dyn Invariant>>,
}

impl Watchers {
    /// For a run of this plan.
    pub fn new(plan: &Plan) -> Self {
        let list: Vec<Box<dyn Invariant>> = vec![
            Box::new(acknowledgements::Acknowledgements::default()),
            Box::new(answers::Answers::default()),
            Box::new(drains::Drains::default()),
            Box::new(exits::Exits::default()),
            Box::new(failover::Failover),
            Box::new(groups::Groups::new(plan)),
            Box::new(launches::Launches::default()),
            Box::new(leaders::Leaders::default()),
            Box::new(lifecycle::Lifecycle::default()),
            Box::new(limits::Limits::default()),
            Box::new(operations::Operations::default()),
            Box::new(pace::Pace::new(plan)),
            Box::new(quotas::Quotas::default()),
            Box::new(registry_first::RegistryFirst),
            Box::new(resources::Never::default()),
            Box::new(returns::Returns::default()),
            Box::new(silence::Silence::new(plan)),
            Box::new(terms::Terms::default()),
            Box::new(volumes::Volumes),
            Box::new(whitelist::Whitelist::default()),
            Box::new(wishes::Wishes::default()),
            Box::new(liveness::Liveness),
        ];
        Self { books: Books::default(), list }
    }

    /// Shows every invariant every fact of a step, and counts what was reached.
    ///
    /// # Errors
    /// The first invariant that is broken, and how.
    pub fn see(&mut self, facts: &[Fact], world: &World, coverage: &mut Coverage) -> Result<(), (String, String)> {
        for fact in facts {
            coverage.see(fact, &self.books, world);
            for invariant in &mut self.list {
                invariant.see(fact, &self.books, world).map_err(|detail| (invariant.name().to_owned(), detail))?;
            }
            self.books.enter(world.now, fact);
        }
        Ok(())
    }

    /// Asks every invariant about the end.
    ///
    /// # Errors
    /// The first invariant that is broken, and how.
    pub fn finish(&mut self, world: &World) -> Result<(), (String, String)> {
        for invariant in &mut self.list {
            invariant.finish(&self.books, world).map_err(|detail| (invariant.name().to_owned(), detail))?;
        }
        Ok(())
    }
}
