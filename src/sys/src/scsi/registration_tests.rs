use super::*;
use crate::scsi::sense::Sense;

/// A target as the standard has it, with the oddities of real ones.
#[derive(Default)]
struct Model {
    generation: u32,
    keys: Vec<u64>,
    reserved: bool,
    persists: bool,
    /// Conditions to be told first.
    attentions: usize,
    /// Service action that is not known here.
    refused: Option<u8>,
    /// LIO: says no, and has done it.
    denies: bool,
    /// What was written.
    writes: Vec<(Cdb, Vec<u8>)>,
}

const NO: Sense = Sense { key: 5, asc: 0x20, ascq: 0 };

impl Model {
    fn attention(&mut self) -> Result<(), Refusal> {
        match self.attentions.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.attentions = left;
                Err(Refusal::Check(Sense { key: 6, asc: 0x29, ascq: 0 }))
            }
        }
    }
}

impl Target for Model {
    fn read(&mut self, cdb: &Cdb, most: u16) -> Result<Vec<u8>, Refusal> {
        self.attention()?;
        assert_eq!((cdb[0], u16::from_be_bytes([cdb[7], cdb[8]])), (0x5e, most));
        let list = match cdb[1] {
            action if self.refused == Some(action) => return Err(Refusal::Check(NO)),
            0 => self.keys.iter().flat_map(|key| key.to_be_bytes()).collect(),
            1 => vec![0; if self.reserved { 16 } else { 0 }],
            2 => return Ok(vec![0, 8, 1, 0x80 | u8::from(self.persists), 0xea, 1, 0, 0]),
            other => panic!("service action {other}"),
        };
        Ok([&self.generation.to_be_bytes()[..], &(list.len() as u32).to_be_bytes(), &list].concat())
    }

    fn write(&mut self, cdb: &Cdb, parameters: &[u8]) -> Result<(), Refusal> {
        self.attention()?;
        self.writes.push((*cdb, parameters.to_vec()));
        self.generation += 1;
        self.keys = match u64::from_be_bytes(parameters[8..16].try_into().unwrap()) {
            0 => vec![],
            key => vec![key],
        };
        if self.denies { Err(Refusal::Check(Sense { key: 2, asc: 8, ascq: 0 })) } else { Ok(()) }
    }
}

const OURS: u64 = 0x6d6b_0000_0000_0001;

fn keys(generation: u32, keys: &[u64]) -> Registration {
    Registration::Keys { generation, keys: keys.to_vec(), reserved: false, persists: false }
}

#[test]
fn a_key_is_registered_once_and_taken_away_once() {
    let mut target = Model::default();
    assert_eq!(read(&mut target), keys(0, &[]));
    assert_eq!(register(&mut target, OURS), keys(1, &[OURS]));
    assert_eq!(register(&mut target, OURS), keys(1, &[OURS]), "the generation is part of the proof");
    assert_eq!(unregister(&mut target, OURS), keys(2, &[]));
    assert_eq!(unregister(&mut target, OURS), keys(2, &[]));
    assert_eq!(target.writes.len(), 2);
}

#[test]
fn what_the_keys_say_counts_and_not_the_answer() {
    let mut target = Model { denies: true, ..Model::default() };
    assert_eq!(register(&mut target, OURS), keys(1, &[OURS]));
}

#[test]
fn nothing_is_sent_where_somebody_else_is() {
    let others = [
        Model { keys: vec![7], ..Model::default() },
        Model { keys: vec![OURS, 7], ..Model::default() },
        Model { reserved: true, ..Model::default() },
        Model { keys: vec![OURS], reserved: true, ..Model::default() },
    ];
    for mut target in others {
        let found = read(&mut target);
        assert_eq!(register(&mut target, OURS), found);
        assert_eq!(unregister(&mut target, OURS), found);
        assert_eq!(target.writes, []);
    }
}

#[test]
fn nothing_is_registered_for_ever_but_what_is_there_can_be_taken_away() {
    let mut target = Model { persists: true, ..Model::default() };
    let found = read(&mut target);
    assert!(matches!(found, Registration::Keys { persists: true, .. }));
    assert_eq!(register(&mut target, OURS), found);
    assert_eq!(target.writes, []);
    target.keys = vec![OURS];
    assert!(matches!(unregister(&mut target, OURS), Registration::Keys { keys, .. } if keys.is_empty()));
}

#[test]
fn one_refused_question_makes_all_unknown_and_nothing_is_sent() {
    for (action, name) in [(0, "READ KEYS"), (1, "READ RESERVATION"), (2, "REPORT CAPABILITIES")] {
        let mut target = Model { refused: Some(action), ..Model::default() };
        let wanted = Registration::Unknown(format!("{name}: CHECK CONDITION 5/20/00"));
        assert_eq!(read(&mut target), wanted);
        assert_eq!(register(&mut target, OURS), wanted);
        assert_eq!(target.writes, []);
    }
}

#[test]
fn unit_attentions_are_heard_out_but_not_for_ever() {
    let mut target = Model { attentions: TRIES - 1, ..Model::default() };
    assert_eq!(register(&mut target, OURS), keys(1, &[OURS]));
    target.attentions = usize::MAX;
    let wanted = Registration::Unknown("REPORT CAPABILITIES: CHECK CONDITION 6/29/00".into());
    assert_eq!(read(&mut target), wanted);
    assert_eq!(target.attentions, usize::MAX - TRIES);
}

#[test]
fn an_answer_that_is_none_is_unknown() {
    struct Silent;
    impl Target for Silent {
        fn read(&mut self, _: &Cdb, _: u16) -> Result<Vec<u8>, Refusal> {
            Ok(vec![0; 3])
        }
        fn write(&mut self, _: &Cdb, _: &[u8]) -> Result<(), Refusal> {
            panic!("nothing may be sent to a target that does not answer")
        }
    }
    let wanted = Registration::Unknown("REPORT CAPABILITIES: 3 bytes are no report of capabilities".into());
    assert_eq!(register(&mut Silent, OURS), wanted);
}
