// oidc-provider, set up for natsgate's tests: real authorization code flow with PKCE and client credentials, JWT and opaque
// access tokens, introspection, userinfo, revocation, back-channel logout, keys made at start. Logs anybody in as anybody: loopback only, never
// for production.
//
// One argument, JSON: { ready_file, port, audience, alg, ttl, introspection_key, backchannel_logout_uri }. When it listens it writes { issuer } to
// ready_file. `introspection_key` is the public JWK of the client natsgate-key, or null. `backchannel_logout_uri` is where
// logouts of the client natsgate-cli are told, or null: POST /devkit/logouts { subject, sid } tells of one, and answers 200 if
// it was taken.
//
// What a token shall be is agreed beforehand: POST /devkit/tickets { subject, ttl, claims } answers { ticket }, which
// an authorization request carries as its login_hint, and a client_credentials request as `ticket`.
// Audience, format and algorithm are the resource's: urn:natsgate:resource?audience=nats&alg=ES256&format=opaque. A token for
// no resource is opaque and has no audience; it is the only kind that userinfo answers for.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

// 8.8 is the newest that runs on Debian 12's Node 18: 9.0 calls crypto.hash and URL.parse, which came with 20 and 22.
import Provider from 'oidc-provider';

const options = JSON.parse(process.argv[2]);

const tickets = new Map();
const ticketOfGrant = new Map();

function key(alg, pair) {
  return { ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', alg, kid: `${alg}-${randomBytes(6).toString('hex')}` };
}
const jwks = {
  keys: [
    key('RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })),
    key('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })),
  ],
};

// Characters that mean something in a form, so that whoever forgets to encode them is found out.
const INTROSPECTION_SECRET = 'development only: +%&=';

function introspector(client_id, more) {
  return { client_id, grant_types: ['client_credentials'], response_types: [], redirect_uris: [], ...more };
}

function ticketOfToken(ctx, token) {
  return ticketOfGrant.get(token.grantId) ?? tickets.get(ctx?.oidc?.body?.ticket);
}
function life(ctx, token) {
  return ticketOfToken(ctx, token)?.ttl ?? options.ttl;
}

const server = createServer();
await new Promise((done) => server.listen(options.port, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  jwks,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clients: [
    {
      client_id: 'natsgate-cli',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/callback'],
      ...(options.backchannel_logout_uri
        ? { backchannel_logout_uri: options.backchannel_logout_uri, backchannel_logout_session_required: true }
        : {}),
    },
    {
      client_id: 'natsgate-service',
      client_secret: 'development-only',
      token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    },
    introspector('natsgate-basic', { token_endpoint_auth_method: 'client_secret_basic', client_secret: INTROSPECTION_SECRET }),
    introspector('natsgate-post', { token_endpoint_auth_method: 'client_secret_post', client_secret: INTROSPECTION_SECRET }),
    ...(options.introspection_key
      ? [introspector('natsgate-key', {
          token_endpoint_auth_method: 'private_key_jwt',
          jwks: { keys: [options.introspection_key] },
        })]
      : []),
  ],
  pkce: { required: () => true },
  scopes: ['openid'],
  ttl: { AccessToken: life, ClientCredentials: life, Interaction: 600, Session: 600, Grant: 600, IdToken: 600 },
  claims: { openid: ['sub', 'email', 'projects'] },
  findAccount: (ctx, id, token) => ({
    accountId: id,
    claims: async () => ({ ...ticketOfGrant.get(token?.grantId)?.claims, sub: id }),
  }),
  extraTokenClaims: (ctx, token) => ticketOfToken(ctx, token)?.claims,
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => {
        const wanted = new URL(resource);
        return {
          scope: 'nats',
          audience: wanted.searchParams.get('audience') ?? options.audience,
          accessTokenFormat: wanted.searchParams.get('format') ?? 'jwt',
          jwt: { sign: { alg: wanted.searchParams.get('alg') ?? options.alg } },
        };
      },
    },
  },
});
provider.on('grant.error', (ctx, error) => console.error(error.error, error.error_detail));
provider.on('server_error', (ctx, error) => console.error(error));

// Logs in whom the ticket names, and consents to everything.
async function interact(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  const ticket = tickets.get(params.login_hint);
  if (!ticket) throw new Error('the authorization request has no known ticket as its login_hint');
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: ticket.subject } });
  }
  const grant = new provider.Grant({ accountId: ticket.subject, clientId: params.client_id });
  grant.addOIDCScope('openid');
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, 'nats');
  const grantId = await grant.save();
  ticketOfGrant.set(grantId, ticket);
  return provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
}

async function takeTicket(request, response) {
  let body = '';
  for await (const part of request) body += part;
  const ticket = randomBytes(16).toString('hex');
  tickets.set(ticket, JSON.parse(body));
  response.setHeader('content-type', 'application/json').end(JSON.stringify({ ticket }));
}

// What ending a session does for each of its clients, without a browser to end it in.
async function logOut(request, response) {
  let body = '';
  for await (const part of request) body += part;
  const { subject, sid } = JSON.parse(body);
  const client = await provider.Client.find('natsgate-cli');
  await client.backchannelLogout(subject, sid);
  response.end();
}

const handle = provider.callback();
server.on('request', (request, response) => {
  const ours =
    request.method === 'POST' && request.url === '/devkit/tickets' ? takeTicket
    : request.method === 'POST' && request.url === '/devkit/logouts' ? logOut
    : request.url.startsWith('/interaction/') ? interact
    : handle;
  Promise.resolve(ours(request, response)).catch((error) => {
    console.error(error);
    response.writeHead(500).end(String(error));
  });
});

// Written beside and renamed, so that whoever looks never reads half of it.
writeFileSync(`${options.ready_file}.part`, JSON.stringify({ issuer }));
renameSync(`${options.ready_file}.part`, options.ready_file);
