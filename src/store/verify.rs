//! Looking at everything that is stored: each file read and hashed, each damage named with whom it hurts.
//! Nothing is changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Entry, Flaw, Store, StoreError, named, stored_object};
use crate::cause::in_words;
use crate::model::{Generation, ObjectId, Snapshot};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// How many generations were read.
    pub generations: usize,
    /// How many objects were read.
    pub objects: usize,
    /// The bytes of all these files.
    pub bytes: u64,
    /// Everything that is wrong, in the order of the paths.
    pub problems: Vec<Problem>,
    /// The generations that are whole, with all of their texts, oldest first.
    pub whole: Vec<Generation>,
    /// The newest of those that is not empty and does not stand aside.
    pub newest_whole: Option<Generation>,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, in words.
    pub what: String,
    /// Whom it hurts.
    pub hurts: Vec<Hurt>,
}

/// A generation that something is missing from.
#[derive(Debug, PartialEq, Eq)]
pub struct Hurt {
    /// Which.
    pub generation: Generation,
    /// Where something is missing: panes as `session:window.pane`, paste buffers as `buffer NAME`. Without any
    /// it is the whole generation.
    pub places: Vec<String>,
}

/// A text that cannot be read whole.
#[derive(Debug)]
pub struct LostText {
    /// Whose: a pane as `session:window.pane`, a paste buffer as `buffer NAME`.
    pub place: String,
    /// Why.
    pub why: StoreError,
}

impl Store {
    /// Returns the panes and paste buffers of a snapshot whose text cannot be read whole, each once.
    pub fn lost_texts(&self, snapshot: &Snapshot) -> Vec<LostText> {
        // Those that many name are read once.
        let mut whole = HashSet::new();
        let mut is_lost = |id: &ObjectId| {
            if whole.contains(id) {
                return None;
            }
            let why = self.object(*id).err();
            whole.extend(why.is_none().then_some(*id));
            why
        };
        let lost = named::contents(snapshot).filter_map(|(place, ids)| {
            let why = ids.iter().find_map(&mut is_lost)?;
            Some(LostText { place, why })
        });
        lost.collect()
    }

    /// Reads and hashes everything, or these generations and all that they name. Generations that are removed
    /// meanwhile are left out.
    pub fn verify(&self, only: Option<&[Generation]>) -> Result<Verification, StoreError> {
        let mut found = Verification::default();
        let wanted = |generation: &Generation| only.is_none_or(|only| only.contains(generation));
        if let Some(missing) = only.into_iter().flatten().find(|only| !self.generation_path(**only).exists())
        {
            return Err(StoreError::NoGeneration { generation: *missing, path: self.dir.clone() });
        }
        let entries: Vec<Entry> =
            self.numbers()?.into_iter().filter(wanted).map(|generation| self.entry(generation)).collect();
        let named = named(&entries);
        let mut objects = Objects { store: self, read: HashMap::new() };
        for id in named.keys() {
            objects.read(*id);
        }
        if only.is_none() {
            self.verify_rest(&mut found, &mut objects)?;
        }
        found.generations = entries.len();
        found.objects = objects.read.len();
        found.bytes = entries.iter().map(|entry| entry.bytes).sum::<u64>()
            + objects.read.values().filter_map(|result| result.as_ref().ok()).sum::<u64>();
        for entry in &entries {
            if let Err(flaw) = &entry.content {
                let hurts = vec![Hurt { generation: entry.generation, places: Vec::new() }];
                found.problems.push(Problem { path: entry.path.clone(), what: flaw.to_string(), hurts });
            }
        }
        for (id, result) in &objects.read {
            if let Err(what) = result {
                let hurts = named.get(id).map(hurts).unwrap_or_default();
                found.problems.push(Problem { path: self.object_path(*id), what: what.clone(), hurts });
            }
        }
        self.forget_what_went(&mut found.problems);
        found.problems.sort_by(|a, b| a.path.cmp(&b.path));
        found.judge(&entries);
        Ok(found)
    }

    /// What no generation names: other objects, strange files, the mark of the format.
    fn verify_rest(&self, found: &mut Verification, objects: &mut Objects<'_>) -> Result<(), StoreError> {
        let mut strange = |path: PathBuf, what: String| {
            found.problems.push(Problem { path, what, hurts: Vec::new() });
        };
        match self.check_format() {
            Ok(_) | Err(StoreError::Newer { .. }) => {}
            Err(StoreError::Flaw { path, flaw }) => strange(path, flaw.to_string()),
            Err(error) => return Err(error),
        }
        for path in self.strangers()? {
            strange(path, "not called like a generation".to_owned());
        }
        for path in self.pins()?.strangers() {
            strange(path.clone(), "not called like a pin".to_owned());
        }
        for shelf in listed(&self.dir.join("objects"))? {
            for file in listed(&shelf.path())? {
                let path = file.path();
                match stored_object(file) {
                    // Under the one name that it is looked for.
                    Some(object) if self.object_path(object.id) == path => objects.read(object.id),
                    _ => strange(path, "not called like an object".to_owned()),
                }
            }
        }
        Ok(())
    }

    /// A clean-up may have run meanwhile: what it removed is neither missing nor damaged.
    fn forget_what_went(&self, problems: &mut Vec<Problem>) {
        problems.retain_mut(|problem| {
            let unnamed = problem.hurts.is_empty();
            problem.hurts.retain(|hurt| self.generation_path(hurt.generation).exists());
            if unnamed { problem.path.exists() } else { !problem.hurts.is_empty() }
        });
    }
}

impl Verification {
    fn judge(&mut self, entries: &[Entry]) {
        let hurt: HashSet<Generation> =
            self.problems.iter().flat_map(|problem| &problem.hurts).map(|hurt| hurt.generation).collect();
        for entry in entries.iter().filter(|entry| !hurt.contains(&entry.generation)) {
            let Ok(snapshot) = &entry.content else { continue };
            self.whole.push(entry.generation);
            if snapshot.aside.is_none() && !snapshot.server.sessions.is_empty() {
                self.newest_whole = Some(entry.generation);
            }
        }
    }
}

/// The objects that were read: their size, or what is wrong.
struct Objects<'a> {
    store: &'a Store,
    read: HashMap<ObjectId, Result<u64, String>>,
}

impl Objects<'_> {
    fn read(&mut self, id: ObjectId) {
        let store = self.store;
        self.read.entry(id).or_insert_with(|| {
            let path = store.object_path(id);
            match store.object(id) {
                Ok(_) => Ok(fs::metadata(path).map_or(0, |meta| meta.len())),
                Err(StoreError::Flaw { flaw, .. }) => Err(flaw.to_string()),
                Err(_) if !path.exists() => Err("missing".to_owned()),
                Err(StoreError::Io { source, .. }) => {
                    Err(Flaw::Damaged(format!("cannot be read: {source}")).to_string())
                }
                Err(other) => Err(in_words(other)),
            }
        });
    }
}

/// For each object the panes that name it, by generation.
type Named = BTreeMap<ObjectId, BTreeMap<Generation, Vec<String>>>;

fn named(entries: &[Entry]) -> Named {
    let mut named = Named::new();
    for entry in entries {
        let Ok(snapshot) = &entry.content else { continue };
        for (place, ids) in named::contents(snapshot).chain(named::orders(snapshot)) {
            for id in ids {
                let places = named.entry(*id).or_default().entry(entry.generation).or_default();
                if places.last() != Some(&place) {
                    places.push(place.clone());
                }
            }
        }
    }
    named
}

fn hurts(by_generation: &BTreeMap<Generation, Vec<String>>) -> Vec<Hurt> {
    by_generation
        .iter()
        .map(|(generation, places)| Hurt { generation: *generation, places: places.clone() })
        .collect()
}

/// Lists a directory; one that is not there is empty. What is being written is left out.
fn listed(dir: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        // A file where a shelf should be.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let entries = entries.map_err(|source| StoreError::io("list", dir, source))?;
    Ok(entries.into_iter().filter(|entry| !super::files::is_temporary(&entry.file_name())).collect())
}
