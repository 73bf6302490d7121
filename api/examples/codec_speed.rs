//! How long it takes to encode and decode one small call: `cargo run --release -p mezzo-api --example codec_speed`.

use std::{hint::black_box, time::Instant};

use mezzo_api::{
    codec::{self, Encoding},
    resources::Resources,
    v1::{
        self,
        scheduler::{Call, call},
    },
};

const ROUNDS: u32 = 200_000;

fn main() {
    let call = Call {
        framework_id: Some(v1::FrameworkId { value: "a0e97eb8-d02e-4203-b83d-594683953cf1-0000".into() }),
        r#type: Some(call::Type::Kill.into()),
        kill: Some(call::Kill { task_id: v1::TaskId { value: "task-0001".into() }, ..Default::default() }),
        ..Default::default()
    };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let body = codec::encode(encoding, &call);
        report(&format!("{encoding:?}: encode {} bytes", body.len()), || {
            drop(black_box(codec::encode(encoding, black_box(&call))))
        });
        report(&format!("{encoding:?}: decode {} bytes", body.len()), || {
            drop(black_box(codec::decode::<Call>(encoding, black_box(&body))));
        });
    }
    let agent = Resources::parse("cpus:8;mem:16384;disk:100000;ports:[31000-32000]", "*").expect("resources");
    let mut task = Resources::parse("cpus:0.1;mem:32", "*").expect("resources");
    report("resources: clone", || drop(black_box(black_box(&agent).clone())));
    report("resources: subtract a task", || drop(black_box(black_box(&agent) - black_box(&task))));
    report("resources: contains a task", || {
        black_box(black_box(&agent).contains(black_box(&task)));
    });
    report("resources: allocate a task", || task.allocate(black_box("dev")));
}

fn report(what: &str, mut step: impl FnMut()) {
    (0..ROUNDS / 10).for_each(|_| step());
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| step());
    println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(ROUNDS));
}
