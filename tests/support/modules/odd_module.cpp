// A server module for tests: ODD.GET reads a key, ODD.SET writes one (replicas get a SET), and so
// does ODD.KEEP (replicas get ODD.KEEP); ODD.NEW makes a value of the module's own type. Declares
// by hand the few calls of the module interface that it needs (redismodule.h; the names are the
// same in Valkey), so that no header of a server has to be installed.
namespace {

struct Context;
struct String;
struct Reply;
using Handler = int (*)(Context*, String**, int);

void (*set_attributes)(Context*, const char* name, int version, int api_version);
int (*create_command)(Context*, const char* name, Handler, const char* flags, int first, int last,
                      int step);
Reply* (*call)(Context*, const char* command, const char* format, ...);
int (*reply_with_call_reply)(Context*, Reply*);
int (*wrong_arity)(Context*);
int (*replicate_verbatim)(Context*);
struct Key;
struct Type;
struct Rdb;
Type* (*create_type)(Context*, const char* name, int version, void* methods);
Key* (*open_key)(Context*, String*, int mode);
void (*close_key)(Key*);
int (*set_value)(Key*, Type*, void*);
int (*reply_with_text)(Context*, const char*);
void (*save_unsigned)(Rdb*, unsigned long long);
unsigned long long (*load_unsigned)(Rdb*);

Type* own_type = nullptr;
char own_value = 0;

/// RedisModuleTypeMethods of version 1.
struct Methods {
    unsigned long long version;
    void* (*load)(Rdb*, int);
    void (*save)(Rdb*, void*);
    void* others[3];  ///< AOF rewrite, memory usage, digest
    void (*release)(void*);
};
Methods methods = {1,
                   [](Rdb* rdb, int) -> void* {
                       load_unsigned(rdb);
                       return &own_value;
                   },
                   [](Rdb* rdb, void*) { save_unsigned(rdb, 1); },
                   {},
                   [](void*) {}};

int get(Context* context, String** arguments, int count) {
    if (count != 2) return wrong_arity(context);
    return reply_with_call_reply(context, call(context, "GET", "s", arguments[1]));
}

int set(Context* context, String** arguments, int count) {
    if (count != 3) return wrong_arity(context);
    return reply_with_call_reply(context, call(context, "SET", "!ss", arguments[1], arguments[2]));
}

int make_own(Context* context, String** arguments, int count) {
    if (count != 2) return wrong_arity(context);
    Key* key = open_key(context, arguments[1], 2);
    set_value(key, own_type, &own_value);
    close_key(key);
    replicate_verbatim(context);
    return reply_with_text(context, "OK");
}

int keep(Context* context, String** arguments, int count) {
    if (count != 3) return wrong_arity(context);
    Reply* reply = call(context, "SET", "ss", arguments[1], arguments[2]);
    replicate_verbatim(context);
    return reply_with_call_reply(context, reply);
}

}  // namespace

extern "C" int RedisModule_OnLoad(Context* context, String**, int) {
    // The first word of the context is the function that finds all others.
    using Find = int (*)(const char*, void*);
    const Find find = *reinterpret_cast<Find*>(context);
    find("RedisModule_SetModuleAttribs", &set_attributes);
    find("RedisModule_CreateCommand", &create_command);
    find("RedisModule_Call", &call);
    find("RedisModule_ReplyWithCallReply", &reply_with_call_reply);
    find("RedisModule_WrongArity", &wrong_arity);
    find("RedisModule_ReplicateVerbatim", &replicate_verbatim);
    find("RedisModule_CreateDataType", &create_type);
    find("RedisModule_OpenKey", &open_key);
    find("RedisModule_CloseKey", &close_key);
    find("RedisModule_ModuleTypeSetValue", &set_value);
    find("RedisModule_ReplyWithSimpleString", &reply_with_text);
    find("RedisModule_SaveUnsigned", &save_unsigned);
    find("RedisModule_LoadUnsigned", &load_unsigned);
    set_attributes(context, "odd", 1, 1);
    own_type = create_type(context, "odd-value", 0, &methods);
    if (own_type == nullptr) return 1;
    if (create_command(context, "odd.new", make_own, "write", 1, 1, 1) != 0) return 1;
    if (create_command(context, "odd.get", get, "readonly", 1, 1, 1) != 0) return 1;
    if (create_command(context, "odd.keep", keep, "write", 1, 1, 1) != 0) return 1;
    return create_command(context, "odd.set", set, "write", 1, 1, 1);
}
