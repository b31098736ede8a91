// Keeps every file of the page when it is first visited, so that it works without a connection from then on.
// export_page writes the page's version and its files into the first line.

const [VERSION, ...FILES] = ["version", "files"];
const OWN = `${self.registration.scope} `; // pages in other folders of the same server keep their own files
const NAME = OWN + VERSION;

self.addEventListener("install", (event) => event.waitUntil(
  // Past the browser's own cache, which may still hold the files of an earlier version.
  caches.open(NAME).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" }))))
    .then(() => self.skipWaiting())));

self.addEventListener("activate", (event) => event.waitUntil((async () => {
  const old = (await caches.keys()).filter((name) => name.startsWith(OWN) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
})()));

self.addEventListener("fetch", (event) => event.respondWith(
  caches.open(NAME).then((cache) => cache.match(event.request, { ignoreSearch: true }))
    .then((kept) => kept ?? fetch(event.request))));
