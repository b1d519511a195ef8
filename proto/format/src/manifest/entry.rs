//! What stands in a manifest: its header, its entries, the order of its runs, its end.
//!
//! | record | tag | value |
//! |---|---|---|
//! | header | 1 | chunking u8 (`chunk.rs`) |
//! | | 2, 3 | mode and time of the directory that was backed up itself; both or none |
//! | | 16, 17 | its owner and extended attributes, as below; only with 2 and 3 |
//! | entry | 1 | path |
//! | | 2 | kind u8: 1 file, 2 directory, 3 symbolic link, 4 hard link, 5 FIFO, 6 character device, 7 block device |
//! | | 3 | mode varint: the 12 permission bits |
//! | | 4 | time of modification: seconds signed varint ‖ nanoseconds varint |
//! | | 5 | file: stored bytes varint; with its holes below 2⁶³ |
//! | | 6 | pieces: (ordinal as difference, signed varint ‖ offset varint ‖ length varint) … |
//! | | 7 | symbolic link: target |
//! | | 8 | file: BLAKE3 of all of its stored bytes |
//! | | 9 | file: when its bytes were last read, as 4 |
//! | | 16 | owner: user varint ‖ group varint, below 2³² - 1 |
//! | | 17 | extended attributes (`xattr.rs`) |
//! | | 18 | device: major varint ‖ minor varint, below 2³² |
//! | | 19 | names that it had, varint, at least 2: hard links may count back to it |
//! | | 20 | hard link: to which entry, counted back among those with 19; 1 is the last one |
//! | | 128 | file: holes (`holes.rs`) |
//! | end | 1, 2, 3, 4 | entries, stored bytes of all files, runs, chunk references; varints |
//! | | 5, 6 | names of users, of groups (`names.rs`) |
//!
//! A file has 5, 8, 9, and 6 unless nothing of it is stored; a symbolic link has 7, a device 18, a hard link 20. 128 is a
//! file's only; 19 may have what is neither a directory nor a hard link, 17 all but a hard link. None has more of these.
//! What a reader does not know, be it a tag or a kind, it keeps. A difference is to the ordinal of the piece before, in
//! whichever entry; 6, 16 and 17 are read for every kind.

use crate::chunk::{CHUNK_BYTES_MAX, Chunking};
use crate::id::{Digest, GroupId};
use crate::manifest::RECORD_BYTES_MAX;
use crate::manifest::field::{Field, Reader, Why, put_field, put_signed, put_varint};
use crate::manifest::holes::{self, Hole};
use crate::manifest::names::{self, OwnerNames};
use crate::manifest::path::{EntryPath, PATH_BYTES_MAX};
use crate::manifest::xattr::{self, Xattr};

/// Permission bits, set-uid, set-gid and sticky.
pub const MODE_MAX: u32 = 0o7777;
/// From this tag on, a field that a reader does not know makes the entry one that it does not understand.
pub const TAG_MUST_KNOW: u8 = 128;

/// A point in time since 1970-01-01, as file systems keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after them, below 10⁹.
    pub nanos: u32,
}

/// Who owns an entry, by numbers below 2³² - 1: that one is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// What a file system says of an entry besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The 12 permission bits.
    pub mode: u32,
    /// When it was last changed.
    pub modified: Moment,
    /// Whose it is; `None` where it came from no file system.
    pub owner: Option<Owner>,
    /// Extended attributes, ascending by name.
    pub xattrs: Vec<Xattr>,
}

/// The first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How contents were cut.
    pub chunking: Chunking,
    /// Of the directory that was backed up, which has no entry of its own.
    pub root: Option<Attributes>,
    /// Fields that this version does not know, ascending.
    pub unknown: Vec<Field>,
}

/// One thing in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: EntryPath,
    /// Mode, time, owner, extended attributes; of a hard link: without these, and only to look at.
    pub attributes: Attributes,
    /// How many names it had where it was backed up: 1, but for some that are neither directories nor hard links.
    pub names: u32,
    /// What.
    pub content: Content,
    /// Fields that this version does not know, ascending.
    pub unknown: Vec<Field>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A regular file.
    File(File),
    /// A directory; what is inside follows.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points: 1 to 4096 bytes, no NUL, otherwise anything. Never followed.
        target: Vec<u8>,
    },
    /// One more name of an entry that stands before it and had several names.
    HardLink {
        /// Which one: counted back among the entries with several names, from 1, the last one.
        back: u64,
    },
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device(Device),
    /// A kind that this version does not know. What else it has is among the unknown fields.
    Other {
        /// Its number.
        kind: u8,
        /// Its pieces, if it has any.
        pieces: Vec<Piece>,
    },
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its length: the sum of the pieces' and the holes'.
    pub size: u64,
    /// Its stored bytes, in order.
    pub pieces: Vec<Piece>,
    /// BLAKE3 of all of its stored bytes.
    pub hash: Digest,
    /// When its bytes were last read from the source.
    pub last_read: Moment,
    /// What is not stored, ascending.
    pub holes: Vec<Hole>,
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// How it is read and written.
    pub access: Access,
    /// Its driver.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
}

/// How a device is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Byte by byte.
    Character,
    /// In blocks.
    Block,
}

/// A stretch of a file: `length` bytes from `offset` in chunk `first`, on over the chunks that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The ordinal of the first chunk in the snapshot's sequence.
    pub first: u64,
    /// Where it begins in that chunk, below 4 MiB.
    pub offset: u32,
    /// Its bytes, at least 1.
    pub length: u64,
}

/// One run of the snapshot's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The shard in which it is the next leaf.
    pub group: GroupId,
    /// How many chunk references it has, 1 to 1024.
    pub chunks: u32,
}

/// The last record: what came before, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Entries.
    pub entries: u64,
    /// Stored bytes of all files.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Chunk references: the sum over the runs.
    pub chunks: u64,
    /// What the owners were called.
    pub names: OwnerNames,
    /// Fields that this version does not know, ascending.
    pub unknown: Vec<Field>,
}

impl Entry {
    /// Whether this version knows everything that must be known to restore it. Else it is left out, and named.
    pub fn is_understood(&self) -> bool {
        !matches!(self.content, Content::Other { .. }) && self.unknown.iter().all(|field| field.tag < TAG_MUST_KNOW)
    }

    /// Its pieces; none for what is neither a file nor unknown.
    pub fn pieces(&self) -> &[Piece] {
        match &self.content {
            Content::File(file) => &file.pieces,
            Content::Other { pieces, .. } => pieces,
            Content::Directory
            | Content::Symlink { .. }
            | Content::HardLink { .. }
            | Content::Fifo
            | Content::Device(_) => &[],
        }
    }

    /// A file's size, else 0.
    pub fn bytes(&self) -> u64 {
        self.file().map_or(0, |file| file.size)
    }

    /// A file's bytes that are stored, without its holes, else 0.
    pub fn stored_bytes(&self) -> u64 {
        self.file().map_or(0, File::stored_bytes)
    }

    fn file(&self) -> Option<&File> {
        match &self.content {
            Content::File(file) => Some(file),
            Content::Directory
            | Content::Symlink { .. }
            | Content::HardLink { .. }
            | Content::Fifo
            | Content::Device(_)
            | Content::Other { .. } => None,
        }
    }

    /// The body of its record. `previous` is the ordinal of the piece before.
    pub(super) fn encode(&self, previous: &mut u64) -> Result<Vec<u8>, Why> {
        self.check()?;
        let mut fields = Fields::new(&self.unknown);
        fields.put(1, self.path.as_bytes());
        fields.put(2, &[self.kind()]);
        fields.put_varint(3, self.attributes.mode.into());
        fields.put(4, &self.attributes.modified.encode());
        if let Content::File(file) = &self.content {
            fields.put_varint(5, file.stored_bytes());
        }
        if !self.pieces().is_empty() {
            fields.put(6, &encode_pieces(self.pieces(), previous));
        }
        if let Content::Symlink { target } = &self.content {
            fields.put(7, target);
        }
        if let Content::File(file) = &self.content {
            fields.put(8, file.hash.as_bytes());
            fields.put(9, &file.last_read.encode());
        }
        self.attributes.put_owner_and_xattrs(&mut fields);
        if let Content::Device(device) = &self.content {
            fields.put(18, &encode_pair(device.major, device.minor));
        }
        if self.names != 1 {
            fields.put_varint(19, self.names.into());
        }
        if let Content::HardLink { back } = &self.content {
            fields.put_varint(20, *back);
        }
        if let Content::File(file) = &self.content
            && !file.holes.is_empty()
        {
            fields.put(128, &holes::encode(&file.holes));
        }
        fields.finish()
    }

    /// Reads the body of its record.
    pub(super) fn decode(body: &[u8], previous: &mut u64) -> Result<Entry, Why> {
        let (mut path, mut kind, mut mode, mut modified) = (None, None, None, None);
        let (mut owner, mut xattrs, mut names) = (None, Vec::new(), None);
        let (mut stored_bytes, mut pieces, mut hash, mut last_read) = (None, Vec::new(), None, None);
        let (mut holes, mut target, mut device, mut back) = (Vec::new(), None, None, None);
        let mut unknown = Vec::new();
        let (mut reader, mut tag_before) = (Reader(body), None);
        while let Some((tag, value)) = reader.field(&mut tag_before)? {
            let is_known_kind = matches!(kind, Some(1..=7));
            match tag {
                1 => path = Some(EntryPath::new(value).map_err(|_| "not a path")?),
                2 => kind = Some(decode_byte(value)?),
                3 => mode = Some(decode_mode(value)?),
                4 => modified = Some(Moment::decode(value)?),
                6 => pieces = decode_pieces(value, previous)?,
                16 => owner = Some(Owner::decode(value)?),
                17 => xattrs = xattr::decode(value)?,
                5 if is_known_kind => stored_bytes = Some(Reader::only_varint(value)?),
                7 if is_known_kind => target = Some(value.to_vec()),
                8 if is_known_kind => hash = Some(Digest::from_slice(value).map_err(|_| "not a hash")?),
                9 if is_known_kind => last_read = Some(Moment::decode(value)?),
                18 if is_known_kind => device = Some(decode_pair(value)?),
                19 if is_known_kind => names = Some(decode_names(value)?),
                20 if is_known_kind => back = Some(Reader::only_varint(value)?),
                128 if is_known_kind => holes = holes::decode(value)?,
                _ => unknown.push(Field { tag, value: value.to_vec() }),
            }
        }
        let missing = "a field is missing";
        let is_bare = pieces.is_empty() && holes.is_empty();
        let content = match (kind.ok_or(missing)?, stored_bytes, hash, last_read, target, device, back) {
            (1, Some(stored_bytes), Some(hash), Some(last_read), None, None, None) => {
                let size = stored_bytes.checked_add(holes::bytes_of(&holes)).ok_or("a file has 2⁶³ bytes or more")?;
                Content::File(File { size, pieces, hash, last_read, holes })
            }
            (2, None, None, None, None, None, None) if is_bare => Content::Directory,
            (3, None, None, None, Some(target), None, None) if is_bare => Content::Symlink { target },
            (4, None, None, None, None, None, Some(back)) if is_bare => Content::HardLink { back },
            (5, None, None, None, None, None, None) if is_bare => Content::Fifo,
            (kind @ 6..=7, None, None, None, None, Some((major, minor)), None) if is_bare => {
                let access = if kind == 6 { Access::Character } else { Access::Block };
                Content::Device(Device { access, major, minor })
            }
            (1..=7, ..) => return Err("the fields are not those of the kind"),
            (kind, ..) => Content::Other { kind, pieces },
        };
        let (mode, modified) = (mode.ok_or(missing)?, modified.ok_or(missing)?);
        let attributes = Attributes { mode, modified, owner, xattrs };
        let names = names.unwrap_or(1);
        let entry = Entry { path: path.ok_or(missing)?, attributes, names, content, unknown };
        entry.check().map(|()| entry)
    }

    fn kind(&self) -> u8 {
        match &self.content {
            Content::File(_) => 1,
            Content::Directory => 2,
            Content::Symlink { .. } => 3,
            Content::HardLink { .. } => 4,
            Content::Fifo => 5,
            Content::Device(Device { access: Access::Character, .. }) => 6,
            Content::Device(Device { access: Access::Block, .. }) => 7,
            Content::Other { kind, .. } => *kind,
        }
    }

    fn check(&self) -> Result<(), Why> {
        self.attributes.check()?;
        for piece in self.pieces() {
            if piece.length == 0 || piece.offset >= CHUNK_BYTES_MAX || piece.first > i64::MAX as u64 {
                return Err("a piece is outside its range");
            }
        }
        match &self.content {
            Content::File(file) => file.check()?,
            Content::Symlink { target } => {
                if !(1..=PATH_BYTES_MAX).contains(&target.len()) || target.contains(&0) {
                    return Err("not a link's target");
                }
            }
            Content::HardLink { .. } if !self.attributes.xattrs.is_empty() => {
                return Err("a hard link has no attributes of its own");
            }
            Content::HardLink { back: 0 } => return Err("a hard link names no entry before it"),
            Content::Other { kind: 1..=7, .. } => return Err("a known kind as an unknown one"),
            Content::HardLink { .. }
            | Content::Directory
            | Content::Fifo
            | Content::Device(_)
            | Content::Other { .. } => {}
        }
        let may_have_names = match &self.content {
            Content::File(_) | Content::Symlink { .. } | Content::Fifo | Content::Device(_) => true,
            Content::Directory | Content::HardLink { .. } | Content::Other { .. } => false,
        };
        if self.names == 0 || (self.names != 1 && !may_have_names) {
            return Err("only what is neither a directory nor a hard link has several names");
        }
        let is_other = matches!(self.content, Content::Other { .. });
        check_unknown(&self.unknown, |tag| match tag {
            1..=4 | 6 | 16 | 17 => true,
            5 | 7..=9 | 18..=20 | 128 => !is_other,
            _ => false,
        })
    }
}

impl File {
    /// Its bytes that are stored: without the holes.
    pub fn stored_bytes(&self) -> u64 {
        self.size.saturating_sub(holes::bytes_of(&self.holes))
    }

    fn check(&self) -> Result<(), Why> {
        self.last_read.check()?;
        if self.size > i64::MAX as u64 {
            return Err("a file has 2⁶³ bytes or more");
        }
        holes::check(self.size, &self.holes)?;
        let sum = self.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.length));
        if sum == Some(self.stored_bytes()) { Ok(()) } else { Err("the size is not the sum of the pieces") }
    }
}

impl Header {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Why> {
        self.check()?;
        let mut fields = Fields::new(&self.unknown);
        fields.put(1, &[self.chunking as u8]);
        if let Some(root) = &self.root {
            fields.put_varint(2, root.mode.into());
            fields.put(3, &root.modified.encode());
            root.put_owner_and_xattrs(&mut fields);
        }
        fields.finish()
    }

    pub(super) fn decode(body: &[u8]) -> Result<Header, Why> {
        let (mut chunking, mut mode, mut modified) = (None, None, None);
        let (mut owner, mut xattrs, mut unknown) = (None, Vec::new(), Vec::new());
        let (mut reader, mut tag_before) = (Reader(body), None);
        while let Some((tag, value)) = reader.field(&mut tag_before)? {
            match tag {
                1 => {
                    chunking = Some(match decode_byte(value)? {
                        0 => Chunking::Default,
                        1 => Chunking::Fixed,
                        2 => Chunking::Hardened,
                        _ => return Err("an unknown chunking"),
                    })
                }
                2 => mode = Some(decode_mode(value)?),
                3 => modified = Some(Moment::decode(value)?),
                16 => owner = Some(Owner::decode(value)?),
                17 => xattrs = xattr::decode(value)?,
                _ => unknown.push(Field { tag, value: value.to_vec() }),
            }
        }
        let root = match (mode, modified) {
            (Some(mode), Some(modified)) => Some(Attributes { mode, modified, owner, xattrs }),
            (None, None) if owner.is_none() && xattrs.is_empty() => None,
            (Some(_) | None, None) | (None, Some(_)) => return Err("a field is missing"),
        };
        let header = Header { chunking: chunking.ok_or("a field is missing")?, root, unknown };
        header.check().map(|()| header)
    }

    fn check(&self) -> Result<(), Why> {
        self.root.as_ref().map_or(Ok(()), Attributes::check)?;
        check_unknown(&self.unknown, |tag| matches!(tag, 1..=3 | 16 | 17))?;
        match self.unknown.last() {
            Some(field) if field.tag >= TAG_MUST_KNOW => Err("the header has a field that must be known"),
            _ => Ok(()),
        }
    }
}

impl End {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Why> {
        self.check()?;
        let mut fields = Fields::new(&self.unknown);
        for (tag, count) in (1..).zip([self.entries, self.bytes, self.runs, self.chunks]) {
            fields.put_varint(tag, count);
        }
        for (tag, names) in (5..).zip([&self.names.users, &self.names.groups]) {
            if !names.is_empty() {
                fields.put(tag, &names::encode(names));
            }
        }
        fields.finish()
    }

    pub(super) fn decode(body: &[u8]) -> Result<End, Why> {
        let (mut counts, mut names, mut unknown) = ([None; 4], OwnerNames::default(), Vec::new());
        let (mut reader, mut tag_before) = (Reader(body), None);
        while let Some((tag, value)) = reader.field(&mut tag_before)? {
            match tag {
                1..=4 => counts[usize::from(tag) - 1] = Some(Reader::only_varint(value)?),
                5 => names.users = names::decode(value)?,
                6 => names.groups = names::decode(value)?,
                _ => unknown.push(Field { tag, value: value.to_vec() }),
            }
        }
        let [Some(entries), Some(bytes), Some(runs), Some(chunks)] = counts else {
            return Err("a field is missing");
        };
        let end = End { entries, bytes, runs, chunks, names, unknown };
        end.check().map(|()| end)
    }

    fn check(&self) -> Result<(), Why> {
        names::check(&self.names.users)?;
        names::check(&self.names.groups)?;
        check_unknown(&self.unknown, |tag| (1..=6).contains(&tag))
    }
}

impl Owner {
    fn decode(value: &[u8]) -> Result<Owner, Why> {
        decode_pair(value).map(|(user, group)| Owner { user, group })
    }
}

impl Moment {
    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12);
        put_signed(&mut bytes, self.seconds);
        put_varint(&mut bytes, self.nanos.into());
        bytes
    }

    fn decode(value: &[u8]) -> Result<Moment, Why> {
        let mut reader = Reader(value);
        let (seconds, nanos) = (reader.signed()?, reader.varint()?);
        reader.end()?;
        let moment = Moment { seconds, nanos: u32::try_from(nanos).unwrap_or(u32::MAX) };
        moment.check().map(|()| moment)
    }

    fn check(self) -> Result<(), Why> {
        if self.nanos < 1_000_000_000 { Ok(()) } else { Err("a second has 10⁹ nanoseconds") }
    }
}

impl Attributes {
    fn check(&self) -> Result<(), Why> {
        if self.mode > MODE_MAX {
            return Err("a mode has 12 bits");
        }
        if self.owner.is_some_and(|owner| owner.user == u32::MAX || owner.group == u32::MAX) {
            return Err("not an owner");
        }
        self.modified.check()?;
        xattr::check(&self.xattrs)
    }

    fn put_owner_and_xattrs(&self, fields: &mut Fields<'_>) {
        if let Some(Owner { user, group }) = self.owner {
            fields.put(16, &encode_pair(user, group));
        }
        if !self.xattrs.is_empty() {
            fields.put(17, &xattr::encode(&self.xattrs));
        }
    }
}

fn decode_byte(value: &[u8]) -> Result<u8, Why> {
    match value {
        [byte] => Ok(*byte),
        _ => Err("a value of one byte has another length"),
    }
}

fn decode_mode(value: &[u8]) -> Result<u32, Why> {
    u32::try_from(Reader::only_varint(value)?).map_err(|_| "a mode has 12 bits")
}

fn decode_names(value: &[u8]) -> Result<u32, Why> {
    match u32::try_from(Reader::only_varint(value)?) {
        Ok(names @ 2..) => Ok(names),
        Ok(_) | Err(_) => Err("several names are 2 to 2³² - 1"),
    }
}

fn encode_pair(one: u32, other: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    put_varint(&mut bytes, one.into());
    put_varint(&mut bytes, other.into());
    bytes
}

fn decode_pair(value: &[u8]) -> Result<(u32, u32), Why> {
    let mut reader = Reader(value);
    let pair = (reader.varint_u32()?, reader.varint_u32()?);
    reader.end().map(|()| pair)
}

fn encode_pieces(pieces: &[Piece], previous: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pieces.len() * 8);
    for piece in pieces {
        // Both are at most 2⁶³ - 1, so the difference fits.
        put_signed(&mut bytes, piece.first as i64 - *previous as i64);
        put_varint(&mut bytes, piece.offset.into());
        put_varint(&mut bytes, piece.length);
        *previous = piece.first;
    }
    bytes
}

fn decode_pieces(value: &[u8], previous: &mut u64) -> Result<Vec<Piece>, Why> {
    let outside = "a piece is outside its range";
    let mut reader = Reader(value);
    let mut pieces = Vec::new();
    if reader.is_empty() {
        return Err("no pieces are no field");
    }
    while !reader.is_empty() {
        let first = previous.checked_add_signed(reader.signed()?).ok_or(outside)?;
        let offset = u32::try_from(reader.varint()?).map_err(|_| outside)?;
        let length = reader.varint()?;
        if first > i64::MAX as u64 {
            return Err(outside);
        }
        *previous = first;
        pieces.push(Piece { first, offset, length });
    }
    Ok(pieces)
}

fn check_unknown(unknown: &[Field], is_known: impl Fn(u8) -> bool) -> Result<(), Why> {
    if !unknown.is_sorted_by(|a, b| a.tag < b.tag) {
        return Err("fields are not in ascending order");
    }
    if unknown.iter().any(|field| is_known(field.tag)) { Err("a known field as an unknown one") } else { Ok(()) }
}

/// Writes known fields, in ascending order, and unknown ones between them.
struct Fields<'unknown> {
    bytes: Vec<u8>,
    unknown: std::iter::Peekable<std::slice::Iter<'unknown, Field>>,
}

impl<'unknown> Fields<'unknown> {
    fn new(unknown: &'unknown [Field]) -> Self {
        Fields { bytes: Vec::with_capacity(160), unknown: unknown.iter().peekable() }
    }

    fn put(&mut self, tag: u8, value: &[u8]) {
        while let Some(field) = self.unknown.next_if(|field| field.tag < tag) {
            put_field(&mut self.bytes, field.tag, &field.value);
        }
        put_field(&mut self.bytes, tag, value);
    }

    fn put_varint(&mut self, tag: u8, number: u64) {
        let mut value = Vec::with_capacity(10);
        put_varint(&mut value, number);
        self.put(tag, &value);
    }

    fn finish(mut self) -> Result<Vec<u8>, Why> {
        for field in self.unknown {
            put_field(&mut self.bytes, field.tag, &field.value);
        }
        if self.bytes.len() > RECORD_BYTES_MAX { Err("a record has at most 1 MiB") } else { Ok(self.bytes) }
    }
}
