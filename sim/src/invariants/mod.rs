//! What must never be false, one file each, looked at after every step; and what must be true once all faults are
//! over.

mod acknowledgements;
mod answers;
mod attention;
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
pub(crate) use books::is_stream;

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

/// Each sees every fact. They stand side by side, not in a list of pointers: most facts are none of most invariants'
/// business, and a call through a pointer would cost more than to see that.
macro_rules! watchers {
    (of $plan:ident: $($name:ident: $invariant:ty = $new:expr;)*) => {
        /// All of them.
        pub struct Watchers {
            books: Books,
            $($name: $invariant,)*
        }

        impl Watchers {
            /// For a run of this plan.
            pub fn new($plan: &Plan) -> Self {
                Self { books: Books::default(), $($name: $new,)* }
            }

            fn see_one(&mut self, fact: &Fact, world: &World) -> Result<(), Broken> {
                $(self.$name.see(fact, &self.books, world).map_err(|detail| broken(&self.$name, detail))?;)*
                Ok(())
            }

            /// Asks every invariant about the end.
            ///
            /// # Errors
            /// The first invariant that is broken, and how.
            pub fn finish(&mut self, world: &World) -> Result<(), Broken> {
                $(self.$name.finish(&self.books, world).map_err(|detail| broken(&self.$name, detail))?;)*
                Ok(())
            }
        }
    };
}

watchers! { of plan:
    acknowledgements: acknowledgements::Acknowledgements = Default::default();
    answers: answers::Answers = Default::default();
    attention: attention::Attention = attention::Attention::new(plan);
    drains: drains::Drains = Default::default();
    exits: exits::Exits = Default::default();
    failover: failover::Failover = failover::Failover;
    groups: groups::Groups = groups::Groups::new(plan);
    launches: launches::Launches = Default::default();
    leaders: leaders::Leaders = Default::default();
    lifecycle: lifecycle::Lifecycle = Default::default();
    limits: limits::Limits = Default::default();
    operations: operations::Operations = Default::default();
    pace: pace::Pace = pace::Pace::new(plan);
    quotas: quotas::Quotas = Default::default();
    registry_first: registry_first::RegistryFirst = registry_first::RegistryFirst;
    resources: resources::Never = Default::default();
    returns: returns::Returns = Default::default();
    silence: silence::Silence = silence::Silence::new(plan);
    terms: terms::Terms = Default::default();
    volumes: volumes::Volumes = volumes::Volumes;
    whitelist: whitelist::Whitelist = Default::default();
    wishes: wishes::Wishes = Default::default();
    liveness: liveness::Liveness = liveness::Liveness;
}

/// The invariant that is broken, and how.
pub type Broken = (String, String);

#[cold]
fn broken(invariant: &impl Invariant, detail: String) -> Broken {
    (invariant.name().to_owned(), detail)
}

impl Watchers {
    /// Shows every invariant every fact of a step, and counts what was reached.
    ///
    /// # Errors
    /// The first invariant that is broken, and how.
    pub fn see(&mut self, facts: &[Fact], world: &World, coverage: &mut Coverage) -> Result<(), Broken> {
        for fact in facts {
            coverage.see(fact, &self.books, world);
            self.see_one(fact, world)?;
            self.books.enter(world.now, fact);
        }
        Ok(())
    }
}
