//! Quota: what roles are promised, and what they may have at most (src/master/quota.cpp, quota_handler.cpp).

use std::collections::BTreeMap;

use mezzo_api::{
    resources::{Resource, Resources, Scalar},
    roles::{self, is_strict_subrole},
    time::Now,
    v1::{
        self,
        quota::{QuotaConfig, QuotaRequest},
    },
};

use crate::{
    allocator::{Limits, Quantities},
    core::Core,
    effect::{Answer, Change, Effect, Effects},
    input::RequestId,
    keys::OfferNumber,
    registry::RegistryOp,
    writes::Pending,
};

/// An amount of memory or disk beyond this is a mistake: an exabyte in MB.
const MOST_MB: f64 = 1_099_511_627_776.0;
/// An amount of anything else beyond this is one.
const MOST: f64 = 1e12;

/// Quota that waits for the registry.
#[derive(Debug)]
pub(crate) struct Granted {
    request: RequestId,
    configs: Vec<QuotaConfig>,
    /// Set by the older call: it rescinds more.
    legacy: bool,
}

impl Granted {
    /// Who waits for it.
    pub(crate) fn request(&self) -> RequestId {
        self.request
    }
}

impl Core {
    /// UPDATE_QUOTA: all of it or nothing.
    pub(crate) fn update_quota(
        &mut self,
        request: RequestId,
        configs: Vec<QuotaConfig>,
        force: bool,
        out: &mut Effects,
    ) {
        match self.validate_quota(&configs, force) {
            Err(text) => out.push(Effect::Reply(request, Answer::new(400, text))),
            Ok(()) => self.grant(Granted { request, configs, legacy: false }, out),
        }
    }

    /// SET_QUOTA: a guarantee that is a limit at the same time.
    pub(crate) fn set_quota(&mut self, request: RequestId, quota: &QuotaRequest, out: &mut Effects) {
        match self.validate_quota_request(quota) {
            Err(answer) => out.push(Effect::Reply(request, answer)),
            Ok(config) => self.grant(Granted { request, configs: vec![config], legacy: true }, out),
        }
    }

    /// REMOVE_QUOTA, and DELETE of the path `path`.
    pub(crate) fn remove_quota(&mut self, request: RequestId, role: &str, path: Option<&str>, out: &mut Effects) {
        let of_path = path.map(|path| format!(" for path '{path}'")).unwrap_or_default();
        let refusal = if path.is_some() && !self.is_whitelisted(role) {
            Some(format!("Failed to validate remove quota request{of_path}: Unknown role '{role}'"))
        } else if !self.quotas.contains_key(role) {
            Some(format!("Failed to remove quota{of_path}: Role '{role}' has no quota set"))
        } else {
            None
        };
        match refusal {
            Some(text) => out.push(Effect::Reply(request, Answer::new(400, text))),
            None => {
                let ops = vec![RegistryOp::RemoveQuota(role.to_owned())];
                self.write(ops, Pending::QuotaRemoved(request, role.to_owned()), out);
            }
        }
    }

    fn grant(&mut self, granted: Granted, out: &mut Effects) {
        let ops = granted.configs.iter().map(|config| {
            if config.guarantees.is_empty() && config.limits.is_empty() {
                RegistryOp::RemoveQuota(config.role.clone())
            } else {
                RegistryOp::PutQuota(Box::new(config.clone()))
            }
        });
        self.write(ops.collect(), Pending::Quota(granted), out);
    }

    /// It is durable.
    pub(crate) fn grant_quota(&mut self, now: Now, granted: Granted, out: &mut Effects) {
        let Granted { request, configs, legacy } = granted;
        for config in configs {
            tracing::info!(role = config.role, "quota changed");
            self.enter_quota(now, &config);
            out.push(Effect::Publish(Change::Quota(Box::new(config.clone()))));
            let (role, guarantees, limits) = (config.role.clone(), guarantees(&config), config.limits.clone());
            // One that says nothing stays listed until the next leader, as in Mesos (src/master/quota_handler.cpp, _update).
            self.quotas.insert(config.role.clone(), config);
            if !legacy {
                self.rescind_above_limits(now, &role, &limits, out);
            }
            self.rescind_for_guarantees(now, &role, &guarantees, legacy, out);
        }
        out.push(Effect::Reply(request, Answer::new(200, "")));
    }

    /// Tells the allocator.
    pub(crate) fn enter_quota(&mut self, now: Now, config: &QuotaConfig) {
        let limits: Limits = config.limits.iter().map(|(name, bound)| (name.clone(), amount(*bound))).collect();
        if config.guarantees.is_empty() && config.limits.is_empty() {
            self.allocator.clear_quota(now.mono, &config.role);
        } else {
            let guarantees: Quantities = guarantees(config).into_iter().collect();
            self.allocator.set_quota(now.mono, &config.role, guarantees, limits);
        }
    }

    pub(crate) fn drop_quota(&mut self, now: Now, request: RequestId, role: &str, out: &mut Effects) {
        tracing::info!(role, "quota removed");
        self.quotas.remove(role);
        self.allocator.clear_quota(now.mono, role);
        out.push(Effect::Publish(Change::QuotaRemoved(role.to_owned())));
        out.push(Effect::Reply(request, Answer::new(200, "")));
    }

    /// Offers of the role and those below it are void until what it has and is offered is within its limits.
    fn rescind_above_limits(
        &mut self,
        now: Now,
        role: &str,
        limits: &BTreeMap<String, v1::value::Scalar>,
        out: &mut Effects,
    ) {
        let mut together = self.consumed(role);
        add(&mut together, &self.offered_to(role));
        let offers: Vec<OfferNumber> = self.offers.iter().map(|(number, _)| number).collect();
        for number in offers {
            if within(&together, limits) {
                return;
            }
            let Some(offer) = self.offers.get(number).filter(|offer| in_subtree(&offer.view.role, role)) else {
                continue;
            };
            for (name, amount) in amounts(&offer.view.resources) {
                *together.entry(name).or_default() -= amount;
            }
            self.rescind_offer(now, number, out);
        }
    }

    /// Offers of other roles are void until what the role has, is offered and could be offered covers its guarantees.
    /// The older call took the role's own ones too, and those of as many agents as the role has frameworks.
    fn rescind_for_guarantees(&mut self, now: Now, role: &str, guarantees: &Amounts, legacy: bool, out: &mut Effects) {
        let of_role =
            |framework: &&crate::frameworks::Framework| framework.stream.is_some() && framework.roles.contains(role);
        let least = if legacy { self.frameworks.slots.values().filter(of_role).count() } else { 0 };
        let mut covered = Amounts::new();
        if !legacy {
            covered = self.consumed(role);
            add(&mut covered, &self.offered_to(role));
        }
        let agents: Vec<_> = self.agents.slots.keys().collect();
        let mut visited = 0;
        for key in agents {
            if covers(&covered, guarantees) && visited >= least {
                return;
            }
            let Some(agent) = self.agents.get(key) else { continue };
            let offers: Vec<OfferNumber> = agent.offers.iter().copied().collect();
            visited += usize::from(!offers.is_empty());
            for number in offers {
                if !legacy && covers(&covered, guarantees) {
                    return;
                }
                let Some(offer) = self.offers.get(number) else { continue };
                if !legacy && in_subtree(&offer.view.role, role) {
                    continue;
                }
                add(&mut covered, &amounts(&offer.view.resources));
                self.rescind_offer(now, number, out);
            }
        }
    }

    /// What counts against a role's quota: reservations to it and those below it, and what they use that is not reserved
    /// (src/master/master.cpp, RoleResourceBreakdown::consumedQuota).
    pub(crate) fn consumed(&self, role: &str) -> Amounts {
        let mut sum = Amounts::new();
        for agent in self.agents.slots.values() {
            add(&mut sum, &amounts(&agent.total.reserved_to_subtree(role)));
            let own = |resource: &Resource| {
                resource.is_unreserved()
                    && !resource.is_revocable()
                    && resource.allocation_role().is_some_and(|allocated| in_subtree(allocated, role))
            };
            add(&mut sum, &amounts(&agent.used.filter(own)));
        }
        sum
    }

    pub(crate) fn offered_to(&self, role: &str) -> Amounts {
        let mut sum = Amounts::new();
        for (_, offer) in self.offers.iter().filter(|(_, offer)| in_subtree(&offer.view.role, role)) {
            let own = |resource: &Resource| resource.is_unreserved() && !resource.is_revocable();
            add(&mut sum, &amounts(&offer.view.resources.filter(own)));
        }
        sum
    }

    fn capacity(&self) -> Amounts {
        let mut sum = Amounts::new();
        for agent in self.agents.slots.values() {
            add(&mut sum, &amounts(&agent.total.non_revocable()));
        }
        sum
    }

    /// What all roles together would be promised.
    fn promised(&self, changed: &[QuotaConfig]) -> Amounts {
        let mut all: BTreeMap<&str, &QuotaConfig> =
            self.quotas.iter().map(|(role, config)| (role.as_str(), config)).collect();
        all.extend(changed.iter().map(|config| (config.role.as_str(), config)));
        let mut sum = Amounts::new();
        for config in all.values() {
            add(&mut sum, &guarantees(config));
        }
        sum
    }

    fn validate_quota(&self, configs: &[QuotaConfig], force: bool) -> Result<(), String> {
        for config in configs {
            let role = &config.role;
            if !self.is_whitelisted(role) {
                return Err(format!("Invalid QuotaConfig: '{role}' is not on the roles whitelist"));
            }
            if role.contains('/') {
                return Err(format!("Updating quota on nested role '{role}' is not supported yet"));
            }
            validate_config(config).map_err(|text| format!("Invalid QuotaConfig: {text}"))?;
        }
        for config in configs.iter().filter(|_| !force) {
            let consumed = self.consumed(&config.role);
            if !within(&consumed, &config.limits) {
                let limits = config.limits.iter().map(|(name, bound)| (name.clone(), amount(*bound))).collect();
                return Err(format!(
                    "Invalid QuotaConfig: Role '{}' is already consuming '{}'; this is more than the requested limits \
                     '{}' (use 'force' flag to bypass this check)",
                    config.role,
                    text(&consumed),
                    text(&limits)
                ));
            }
        }
        let (promised, capacity) = (self.promised(configs), self.capacity());
        if force || covers(&capacity, &promised) {
            return Ok(());
        }
        Err(format!(
            "Invalid QuotaConfig: total quota guarantees '{}' exceed cluster capacity '{}' (use 'force' flag to bypass \
             this check)",
            text(&promised),
            text(&capacity)
        ))
    }

    fn validate_quota_request(&self, request: &QuotaRequest) -> Result<QuotaConfig, Answer> {
        const FAILED: &str = "Failed to validate set quota request";
        let bad = |text: String| Answer::new(400, text);
        let guarantee = read_guarantee(request).map_err(|text| bad(format!("{FAILED}: {text}")))?;
        let role = request.role();
        if !self.is_whitelisted(role) {
            return Err(bad(format!("{FAILED}: Unknown role '{role}'")));
        }
        if self.quotas.contains_key(role) {
            return Err(bad(format!("{FAILED}: Cannot set quota for role '{role}' which already has quota")));
        }
        if role.contains('/') {
            return Err(bad(format!("Setting quota on nested role '{role}' is not supported yet")));
        }
        let amounts: BTreeMap<String, v1::value::Scalar> = guarantee;
        let config = QuotaConfig { role: role.to_owned(), guarantees: amounts.clone(), limits: amounts };
        let (promised, capacity) = (self.promised(std::slice::from_ref(&config)), self.capacity());
        if request.force() || covers(&capacity, &promised) {
            return Ok(config);
        }
        let text = format!(
            "Quota guarantees overcommit the cluster (use 'force' to bypass this check): Total quota guarantees '{}' \
             exceed cluster capacity '{}'",
            text(&promised),
            text(&capacity)
        );
        Err(Answer::new(409, text))
    }
}

pub(crate) type Amounts = BTreeMap<String, Scalar>;

pub(crate) fn amount(scalar: v1::value::Scalar) -> Scalar {
    Scalar::from_f64(scalar.value)
}

fn guarantees(config: &QuotaConfig) -> Amounts {
    config.guarantees.iter().map(|(name, promised)| (name.clone(), amount(*promised))).collect()
}

fn amounts(resources: &Resources) -> Amounts {
    resources.quantities().into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
}

pub(crate) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += *amount;
    }
}

fn covers(have: &Amounts, wanted: &Amounts) -> bool {
    wanted.iter().all(|(name, wanted)| have.get(name).copied().unwrap_or_default() >= *wanted)
}

fn within(have: &Amounts, limits: &BTreeMap<String, v1::value::Scalar>) -> bool {
    limits.iter().all(|(name, limit)| have.get(name).copied().unwrap_or_default() <= amount(*limit))
}

fn in_subtree(role: &str, root: &str) -> bool {
    role == root || is_strict_subrole(role, root)
}

/// E.g. `cpus:4; mem:512`.
fn text(amounts: &Amounts) -> String {
    let shown = amounts.iter().filter(|(_, amount)| !amount.is_zero());
    shown.map(|(name, amount)| format!("{name}:{amount}")).collect::<Vec<_>>().join("; ")
}

/// E.g. `{ cpus: 3 }`.
fn map_text(amounts: &BTreeMap<String, v1::value::Scalar>) -> String {
    let parts: Vec<String> =
        amounts.iter().map(|(name, value)| format!("{name}: {}", Scalar::from_f64(value.value))).collect();
    format!("{{ {} }}", parts.join(", "))
}

/// What is wrong with one role's configuration in itself.
fn validate_config(config: &QuotaConfig) -> Result<(), String> {
    roles::validate(&config.role).map_err(|error| format!("Invalid 'QuotaConfig.role': {error}"))?;
    for (field, amounts) in [("guarantees", &config.guarantees), ("limits", &config.limits)] {
        for (name, scalar) in amounts {
            let (most, words) = match name.as_str() {
                "mem" | "disk" => (MOST_MB, "1 exabyte"),
                _ => (MOST, "1 trillion"),
            };
            if scalar.value > most && scalar.value.is_finite() {
                return Err(format!(
                    "Invalid 'QuotaConfig.{field}': {{'{name}': {}}} is invalid: values greater than {words} ({most}) are \
                     not supported",
                    scalar.value
                ));
            }
        }
    }
    for (what, amounts) in [("guarantee", &config.guarantees), ("limit", &config.limits)] {
        for (name, scalar) in amounts {
            if let Some(wrong) = wrong_amount(scalar.value) {
                return Err(format!("Invalid {what} configuration {{'{name}': {}}}: {wrong}", scalar.value));
            }
        }
    }
    let below = |(name, limit): (&String, &v1::value::Scalar)| {
        config.guarantees.get(name).is_none_or(|promised| amount(*promised) <= amount(*limit))
    };
    if config.limits.iter().all(below) {
        return Ok(());
    }
    Err(format!(
        "'QuotaConfig.guarantees' {} is not contained within the 'QuotaConfig.limits' {}",
        map_text(&config.guarantees),
        map_text(&config.limits)
    ))
}

/// src/common/validation.cpp, validateInputScalarValue.
fn wrong_amount(value: f64) -> Option<&'static str> {
    if value.is_infinite() {
        Some("Infinite values not supported")
    } else if value.is_nan() {
        Some("NaN not supported")
    } else if value.is_subnormal() {
        Some("Subnormal values not supported")
    } else if value < 0.0 {
        Some("Negative values not supported")
    } else {
        None
    }
}

/// The older call's guarantee (src/master/quota.cpp, validation::quotaInfo).
fn read_guarantee(request: &QuotaRequest) -> Result<BTreeMap<String, v1::value::Scalar>, String> {
    for proto in &request.guarantee {
        mezzo_api::resources::validate(proto)
            .map_err(|reason| format!("QuotaInfo with invalid resource: {}", invalid_text(proto, &reason)))?;
    }
    roles::validate(request.role()).map_err(|error| format!("QuotaInfo with invalid role: {error}"))?;
    if request.guarantee.is_empty() {
        return Err("QuotaInfo with empty 'guarantee'".to_owned());
    }
    let mut amounts = BTreeMap::new();
    for proto in &request.guarantee {
        let resource = Resource::from_proto(proto).map_err(|error| error.to_string())?;
        if !resource.is_unreserved() {
            return Err("QuotaInfo must not contain any ReservationInfo".to_owned());
        }
        if resource.disk().is_some() {
            return Err("QuotaInfo must not contain DiskInfo".to_owned());
        }
        if resource.is_revocable() {
            return Err("QuotaInfo must not contain RevocableInfo".to_owned());
        }
        let Some(amount) = resource.amount() else {
            return Err("QuotaInfo must not include non-scalar resources".to_owned());
        };
        let value = v1::value::Scalar { value: amount.as_f64() };
        if amounts.insert(resource.name().to_owned(), value).is_some() {
            return Err(format!("QuotaInfo contains duplicate resource name '{}'", resource.name()));
        }
    }
    Ok(amounts)
}

fn invalid_text(proto: &v1::Resource, reason: &mezzo_api::resources::InvalidResource) -> String {
    format!("Resource '{}' is invalid: {reason}", mezzo_api::resources::display_proto(proto))
}
