//! Resources as Mesos prints them in messages, e.g. `cpus(allocated: dev):0.1; mem(allocated: dev):32`.

use std::fmt::{self, Write};

use super::{Range, Resource, Resources, Scalar, ranges::write_ranges, scalar::write_double};
use crate::v1::{self, resource::DiskInfo, resource::ReservationInfo, resource::disk_info};

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("{}");
        }
        for (at, resource) in self.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}{resource}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", display_proto(&self.to_proto()))?;
        if self.is_shared() { write!(f, "<{}>", self.shares()) } else { Ok(()) }
    }
}

/// A resource that need not be valid, as text.
pub fn display_proto(resource: &v1::Resource) -> impl fmt::Display + '_ {
    DisplayProto(resource)
}

struct DisplayProto<'a>(&'a v1::Resource);

impl fmt::Display for DisplayProto<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.0;
        f.write_str(&resource.name)?;
        if let Some(allocation) = &resource.allocation_info {
            write!(f, "(allocated: {})", allocation.role())?;
        }
        if !resource.reservations.is_empty() {
            f.write_str("(reservations: [")?;
            for (at, reservation) in resource.reservations.iter().enumerate() {
                f.write_str(if at > 0 { ", (" } else { "(" })?;
                write_reservation(f, reservation)?;
                f.write_char(')')?;
            }
            f.write_str("])")?;
        }
        if let Some(disk) = &resource.disk {
            f.write_char('[')?;
            write_disk(f, disk)?;
            f.write_char(']')?;
        }
        if resource.revocable.is_some() {
            f.write_str("{REV}")?;
        }
        if resource.shared.is_some() {
            f.write_str("<SHARED>")?;
        }
        f.write_char(':')?;
        write_value(f, resource)
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, resource: &v1::Resource) -> fmt::Result {
    match v1::value::Type::try_from(resource.r#type) {
        Ok(v1::value::Type::Scalar) => {
            let value = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
            match Scalar::checked_from_f64(value) {
                Some(amount) => write!(f, "{amount}"),
                None => write_double(f, value),
            }
        }
        Ok(v1::value::Type::Ranges) => {
            let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
            write_ranges(f, ranges.map(|&v1::value::Range { begin, end }| Range { begin, end }))
        }
        Ok(v1::value::Type::Set) => {
            let items = resource.set.as_ref().map_or(&[][..], |set| &set.item);
            write!(f, "{{{}}}", items.join(", "))
        }
        Ok(v1::value::Type::Text) => f.write_str("TEXT"),
        Err(_) => write!(f, "type {}", resource.r#type),
    }
}

fn write_reservation(f: &mut fmt::Formatter<'_>, reservation: &ReservationInfo) -> fmt::Result {
    write!(f, "{},{}", reservation.r#type().as_str_name(), reservation.role())?;
    if let Some(principal) = &reservation.principal {
        write!(f, ",{principal}")?;
    }
    if let Some(labels) = &reservation.labels {
        f.write_char(',')?;
        write_labels(f, labels)?;
    }
    Ok(())
}

fn write_labels(f: &mut fmt::Formatter<'_>, labels: &v1::Labels) -> fmt::Result {
    f.write_char('{')?;
    for (at, label) in labels.labels.iter().enumerate() {
        let separator = if at > 0 { ", " } else { "" };
        write!(f, "{separator}{}", label.key)?;
        if let Some(value) = &label.value {
            write!(f, ": {value}")?;
        }
    }
    f.write_char('}')
}

fn write_disk(f: &mut fmt::Formatter<'_>, disk: &DiskInfo) -> fmt::Result {
    if let Some(source) = &disk.source {
        write_source(f, source)?;
    }
    if let Some(persistence) = &disk.persistence {
        let separator = if disk.source.is_some() { "," } else { "" };
        write!(f, "{separator}{}", persistence.id)?;
    }
    if let Some(volume) = &disk.volume {
        f.write_char(':')?;
        write_volume(f, volume)?;
    }
    Ok(())
}

fn write_source(f: &mut fmt::Formatter<'_>, source: &disk_info::Source) -> fmt::Result {
    f.write_str(source.r#type().as_str_name())?;
    let kind = source.r#type();
    if kind == disk_info::source::Type::Unknown {
        return Ok(());
    }
    if source.id.is_some() || source.profile.is_some() {
        return write!(f, "({},{},{})", source.vendor(), source.id(), source.profile());
    }
    let root = match kind {
        disk_info::source::Type::Mount => source.mount.as_ref().and_then(|mount| mount.root.as_ref()),
        disk_info::source::Type::Path => source.path.as_ref().and_then(|path| path.root.as_ref()),
        _ => None,
    };
    root.map_or(Ok(()), |root| write!(f, ":{root}"))
}

fn write_volume(f: &mut fmt::Formatter<'_>, volume: &v1::Volume) -> fmt::Result {
    let Some(host_path) = &volume.host_path else { return f.write_str(&volume.container_path) };
    let mode = match volume.mode() {
        v1::volume::Mode::Rw => ":rw",
        v1::volume::Mode::Ro => ":ro",
    };
    write!(f, "{host_path}:{}{mode}", volume.container_path)
}
