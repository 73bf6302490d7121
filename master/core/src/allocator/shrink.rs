//! Cutting resources down to bounds (src/master/allocator/mesos/hierarchical.cpp, shrinkResources).

use mezzo_api::resources::{Resource, Resources, Scalar, Value};

/// Those of `resources` that fit under the bounds, which are lowered by what is taken; names without a bound are taken
/// whole. What can only be taken whole has its turn first, and is left out if it does not fit; amounts are cut. (Mesos
/// goes through them in random order, and wastes what it met too late.)
pub(super) fn shrink(resources: &Resources, mut bound: impl FnMut(&str) -> Option<Scalar>) -> Resources {
    let mut left: Vec<(&str, Option<Scalar>)> = Vec::new();
    let mut taken = Resources::new();
    let (whole, divisible): (Vec<&Resource>, Vec<&Resource>) =
        resources.iter().partition(|resource| !resource.is_divisible());
    for resource in whole.into_iter().chain(divisible) {
        let name = resource.name();
        let at = left.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            left.push((name, bound(name)));
            left.len() - 1
        });
        let Some(bound) = &mut left[at].1 else {
            taken.add(resource.clone());
            continue;
        };
        let Some(cut) = cut(resource, *bound) else { continue };
        *bound -= cut.amount().unwrap_or_default();
        taken.add(cut);
    }
    taken
}

fn cut(resource: &Resource, bound: Scalar) -> Option<Resource> {
    let amount = resource.amount()?;
    if amount <= bound {
        return Some(resource.clone());
    }
    (resource.is_divisible() && bound > Scalar::ZERO).then(|| resource.with_value(Value::Scalar(bound)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        Resources::parse(text, "*").unwrap()
    }

    #[test]
    fn amounts_are_cut_to_their_bounds() {
        let bound = |name: &str| match name {
            "cpus" => Some(Scalar::from_f64(1.5)),
            "mem" => Some(Scalar::ZERO),
            _ => None,
        };
        assert_eq!(shrink(&resources("cpus:4;mem:10;disk:5"), bound), resources("cpus:1.5;disk:5"));
    }

    #[test]
    fn disks_that_are_taken_whole_are_left_out_if_they_do_not_fit() {
        let json = r#"[{"name":"disk","type":"SCALAR","scalar":{"value":80},
            "disk":{"source":{"type":"MOUNT","mount":{"root":"/m"}}}}]"#;
        let mount = Resources::parse(json, "*").unwrap();
        let all = &mount + &resources("disk:50");
        let to = |bound: f64| shrink(&all, |_| Some(Scalar::from_f64(bound)));
        assert_eq!(to(100.0), &mount + &resources("disk:20"));
        assert_eq!(to(60.0), resources("disk:50"));
        assert_eq!(to(0.0), Resources::new());
    }
}
