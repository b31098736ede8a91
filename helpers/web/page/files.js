// The page's own files: fetched from beside it or, in a page that is one file, found inside it.

// A sentence for the person in front of the page; anything else that is thrown is a fault of the page.
export class Told extends Error {}

const inside = (name) => document.getElementById(`file:${name}`);

export async function bytes(name) {
  if (inside(name)) return Uint8Array.from(atob(inside(name).textContent), (char) => char.charCodeAt(0));
  const response = await fetch(name).catch(() => null);
  if (!response?.ok) throw new Told(`The file ${name} is missing beside this page: export the page again.`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function json(name) {
  const text = new TextDecoder().decode(await bytes(name));
  try {
    return JSON.parse(text);
  } catch {
    throw new Told(`The file ${name} is damaged: export the page again.`);
  }
}

// Where `import` finds a module.
export async function address(name) {
  if (!inside(name)) return new URL(name, document.baseURI).href;
  return URL.createObjectURL(new Blob([await bytes(name)], { type: "text/javascript" }));
}

// Some servers have unpacked a .gz file already when it arrives.
export async function unpacked(packed) {
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
