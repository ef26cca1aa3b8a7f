// An exported tokenizer, from this server or from a folder that the user chose, checked before it is used.
//
//     const exported = await fromServer("model/");        // or: await fromFolder(input.files)
//     exported.tokenizer.levels, exported.graphs.encoder  // what the manifest says, and the bytes of each graph
//
// Refuses, with a message for the user: what is no such export, another kind of export, missing and altered files.

const FORMAT = "videogpt-tokenizer-export";
const VERSION = 1;
const GRAPHS = ["encoder", "encoder_step", "decoder", "decoder_step"];
const MAKE = "videogpt export natural --format onnx --output exported/onnx";

/** The export in a folder of this page's server. */
export async function fromServer(folder) {
  return read(async (name) => {
    const answer = await fetch(folder + name);
    if (answer.status === 404) {
      return null;
    }
    if (!answer.ok) {
      throw new Error(`The server answers ${answer.status} when asked for ${name}: look at what it prints.`);
    }
    return answer.arrayBuffer();
  }, "There is no tokenizer here: start tokenizer/web/serve.py with an export, or choose the folder of one below.");
}

/** The export among the files of a folder that the user chose. */
export async function fromFolder(files) {
  const byName = new Map(Array.from(files, (file) => [file.name, file]));
  return read(async (name) => (await byName.get(name)?.arrayBuffer()) ?? null,
    `The folder holds no manifest.json, so it is no export: make one by ${MAKE}`);
}

async function read(bytesOf, noManifest) {
  const text = await bytesOf("manifest.json");
  if (text === null) {
    throw new Error(noManifest);
  }
  const manifest = parse(new TextDecoder().decode(text));
  const graphs = {};
  for (const name of GRAPHS) {
    const file = manifest.graphs?.[name]?.file;
    const bytes = file === undefined ? null : await bytesOf(file);
    if (bytes === null) {
      throw new Error(`${file ?? name} is missing from the export: copy the whole folder, or export again.`);
    }
    await check(file, bytes, manifest.files?.[file]?.sha256);
    graphs[name] = bytes;
  }
  return { tokenizer: manifest.tokenizer, graphs };
}

function parse(text) {
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw new Error(`manifest.json is damaged: export again by ${MAKE}`);
  }
  if (manifest?.format !== FORMAT) {
    throw new Error(`manifest.json does not describe an exported tokenizer: make one by ${MAKE}`);
  }
  if (manifest.version !== VERSION) {
    throw new Error(`The export has version ${manifest.version}, the page reads version ${VERSION}: export again.`);
  }
  if (manifest.kind !== "onnx") {
    throw new Error(`This is an export of kind ${manifest.kind}, and the page needs onnx: make one by ${MAKE}`);
  }
  return manifest;
}

async function check(file, bytes, wanted) {
  if (!globalThis.isSecureContext) {
    throw new Error("Checksums need a page from localhost or over https: open it as http://127.0.0.1 instead.");
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== wanted) {
    throw new Error(`${file} is damaged or of another export: copy the whole folder, or export again.`);
  }
}
