//! The large reads of the operator API as bytes, entity by entity: a large picture as one message, or worse as one JSON value,
//! would take several times its memory. Mesos writes these by hand too, and in JSON it writes their arrays even if they are
//! empty (src/master/readonly_handler.cpp).

use mezzo_api::{
    codec::{ApiMessage, Encoding, encode},
    v1::master::response,
};
use prost::{
    bytes::BufMut,
    encoding::{WireType, encode_key, encode_varint, message},
};

use super::{View, messages, tasks};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// GET_AGENTS
    Agents,
    /// GET_FRAMEWORKS
    Frameworks,
    /// GET_EXECUTORS
    Executors,
    /// GET_TASKS
    Tasks,
    /// GET_STATE
    State,
}

impl Part {
    /// The type of the response.
    pub(crate) fn kind(self) -> response::Type {
        match self {
            Self::Agents => response::Type::GetAgents,
            Self::Frameworks => response::Type::GetFrameworks,
            Self::Executors => response::Type::GetExecutors,
            Self::Tasks => response::Type::GetTasks,
            Self::State => response::Type::GetState,
        }
    }

    /// Its field in a response.
    pub(crate) fn field(self) -> Field {
        match self {
            Self::Agents => Field("get_agents", 10),
            Self::Frameworks => Field("get_frameworks", 11),
            Self::Executors => Field("get_executors", 12),
            Self::Tasks => Field("get_tasks", 13),
            Self::State => Field("get_state", 9),
        }
    }

    /// What it tells, as the message of that field.
    pub(crate) fn written(self, view: &View, encoding: Encoding) -> Vec<u8> {
        let mut writer = Writer::new(encoding);
        match self {
            Self::Agents => {
                let agents = view.agents.values().map(|agent| messages::agent(agent));
                let recovered = view.recovered.values().map(|info| info.message());
                writer.list(Field("agents", 1), agents).list(Field("recovered_agents", 2), recovered);
            }
            Self::Frameworks => {
                let completed = view.completed_frameworks();
                writer
                    .list(Field("frameworks", 1), view.present_frameworks().map(|one| messages::framework(view, one)))
                    .list(
                        Field("completed_frameworks", 2),
                        completed.into_iter().map(|one| messages::framework(view, one)),
                    );
            }
            Self::Executors => {
                let executors = view.executors.values().map(|executor| messages::executor(executor));
                writer.list(Field("executors", 1), executors);
            }
            Self::Tasks => {
                let mut lists = [const { Vec::new() }; 3];
                for framework in view.frameworks.keys() {
                    let of_framework = view.tasks_of(framework);
                    lists.iter_mut().zip(of_framework).for_each(|(list, more)| list.extend(more));
                }
                let [active, unreachable, completed] =
                    lists.map(|list| list.into_iter().map(|task| tasks::message(task)));
                writer
                    .list(Field("tasks", 2), active)
                    .list(Field("unreachable_tasks", 5), unreachable)
                    .list(Field("completed_tasks", 3), completed);
            }
            Self::State => {
                for (part, number) in [(Self::Tasks, 1), (Self::Executors, 2), (Self::Frameworks, 3), (Self::Agents, 4)]
                {
                    writer.part(Field(part.field().0, number), &part.written(view, encoding));
                }
            }
        }
        writer.end()
    }
}

/// A field: its name and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field(pub(crate) &'static str, pub(crate) u32);

/// A message with one more field, which was written before.
pub(crate) fn with_part<M: ApiMessage>(encoding: Encoding, rest: &M, field: Field, part: &[u8]) -> Vec<u8> {
    let mut writer = Writer { encoding, out: Vec::with_capacity(part.len() + 256) };
    writer.out.extend_from_slice(&encode(encoding, rest));
    if encoding == Encoding::Json {
        writer.out.pop();
    }
    writer.part(field, part);
    writer.end()
}

struct Writer {
    encoding: Encoding,
    out: Vec<u8>,
}

impl Writer {
    fn new(encoding: Encoding) -> Self {
        let out = if encoding == Encoding::Json { vec![b'{'] } else { Vec::new() };
        Self { encoding, out }
    }

    fn list<M: ApiMessage>(&mut self, Field(name, number): Field, items: impl Iterator<Item = M>) -> &mut Self {
        match self.encoding {
            Encoding::Protobuf => items.for_each(|item| message::encode(number, &item, &mut self.out)),
            Encoding::Json => {
                self.name(name);
                self.out.push(b'[');
                for (index, item) in items.enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    item.write_json(&mut self.out);
                }
                self.out.push(b']');
            }
        }
        self
    }

    fn part(&mut self, Field(name, number): Field, part: &[u8]) {
        match self.encoding {
            Encoding::Protobuf => {
                encode_key(number, WireType::LengthDelimited, &mut self.out);
                encode_varint(part.len() as u64, &mut self.out);
            }
            Encoding::Json => self.name(name),
        }
        self.out.put_slice(part);
    }

    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn end(mut self) -> Vec<u8> {
        if self.encoding == Encoding::Json {
            self.out.push(b'}');
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use mezzo_api::{
        codec::decode,
        v1::master::{Response, response::Type},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::view::tests::picture;

    fn response(view: &View, part: Part, encoding: Encoding) -> Vec<u8> {
        let head = Response { r#type: Some(part.kind() as i32), ..Response::default() };
        with_part(encoding, &head, part.field(), &part.written(view, encoding))
    }

    #[test]
    fn both_encodings_tell_the_same() {
        let view = picture();
        for part in [Part::Agents, Part::Frameworks, Part::Executors, Part::Tasks, Part::State] {
            let [json, protobuf] = [Encoding::Json, Encoding::Protobuf].map(|encoding| {
                decode::<Response>(encoding, &response(&view, part, encoding)).expect("it is well-formed")
            });
            assert_eq!(json.r#type(), part.kind());
            // Defaults are there in JSON, and are none once they are read.
            let [json, protobuf] = [json, protobuf].map(|response| encode(Encoding::Json, &response));
            assert_eq!(json, protobuf, "{part:?}");
        }
        let state = decode::<Response>(Encoding::Protobuf, &response(&view, Part::State, Encoding::Protobuf)).unwrap();
        let state = state.get_state.unwrap();
        assert_eq!(state.get_tasks.unwrap().tasks.len(), 1);
        assert_eq!(state.get_frameworks.unwrap().frameworks.len(), 1);
        assert_eq!(state.get_agents.unwrap().agents.len(), 1);
    }

    #[test]
    fn empty_arrays_are_written_where_mesos_writes_them() {
        let view = View::default();
        let text = |part| serde_json::from_slice::<Value>(&response(&view, part, Encoding::Json)).unwrap();
        assert_eq!(text(Part::Executors), json!({"type": "GET_EXECUTORS", "get_executors": {"executors": []}}));
        assert_eq!(
            text(Part::State),
            json!({"type": "GET_STATE", "get_state": {
                "get_tasks": {"tasks": [], "unreachable_tasks": [], "completed_tasks": []},
                "get_executors": {"executors": []},
                "get_frameworks": {"frameworks": [], "completed_frameworks": []},
                "get_agents": {"agents": [], "recovered_agents": []},
            }})
        );
        assert_eq!(Part::State.kind(), Type::GetState);
    }
}
